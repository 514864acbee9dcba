"""Why an e-mail or the call of a hook was not delivered, in the language of the reader.

The worker stores a sentence in English, which the APIs and the log show. What a mail server or the
operating system has said is a part of it, and stays as it is: pages put it between quotation marks.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.text.names import isolated

_PATTERNS: Final = (
    (
        "The mail server does not accept e-mails from this service: {reply}",
        mark("The mail server does not accept e-mails from this service: “{reply}”"),
    ),
    (
        "The mail server refused the e-mail: {reply}",
        mark("The mail server refused the e-mail: “{reply}”"),
    ),
    (
        "The mail server has a certificate that is not trusted: {reply}.",
        mark("The mail server has a certificate that is not trusted: “{reply}”."),
    ),
    (
        "The mail server cannot be reached: {reply}.",
        mark("The mail server cannot be reached: “{reply}”."),
    ),
    (
        "The mail folder cannot be written: {reply}.",
        mark("The mail folder cannot be written: “{reply}”."),
    ),
    (
        "The mail server rejected the login ({code}).",
        mark("The mail server rejected the login ({code})."),
    ),
    (
        "The mail server refused the connection ({code}).",
        mark("The mail server refused the connection ({code})."),
    ),
    (
        "The webhook rejected our token ({code}).",
        mark("The webhook rejected our token ({code})."),
    ),
    (
        "The webhook refused the invitation ({code}).",
        mark("The webhook refused the invitation ({code})."),
    ),
    (
        "The answer was an error ({status}).",
        mark("The answer was an error ({status})."),
    ),
    (
        "The invitation is no longer pending: it is {code}.",
        mark("The invitation is no longer pending."),
    ),
)
"""Sentence of the worker → what pages show. The first that fits is used."""

_SENTENCES: Final = frozenset(
    {
        mark("The mail server did not answer in time."),
        mark("The connection to the mail server was lost."),
        mark("The mail server does not accept addresses with characters outside ASCII."),
        mark(
            "The mail server does not offer STARTTLS. Set starttls=0 in MAIL_URL to send without "
            "encryption."
        ),
        mark("The mail server supports no common encryption."),
        mark("The mail server does not answer."),
        mark("The mail server cannot be reached: no address of its name accepts a connection."),
        mark("The mail server closed the connection."),
        mark("The mail server offers no supported login method."),
        mark("The webhook did not answer."),
        mark("The token for the webhook could not be obtained."),
        mark("The e-mail could not be rendered. See the log."),
        mark("No attempt to send the e-mail was completed."),
        mark("This is not a valid e-mail address."),
        mark("The invitation no longer exists."),
        mark("The invitation was renewed or changed, and has another link."),
        # Of hooks
        mark("The address is an internal one."),
        mark("There was no answer."),
        mark("No attempt to call the address was completed."),
        mark("The event could not be rendered."),
        mark("The hook no longer exists."),
        mark("The hook is not active any more."),
        mark("The event is not visible any more."),
        mark("The address is not that of the account any more."),
        mark("The credentials of the account have changed."),
        # Of both
        mark("Discarded by staff."),
    }
)
"""Sentences of the worker that are shown as they are, translated."""


def delivery_reason(stored: str) -> str:
    """Return what a page says about a delivery that failed; empty if it did not fail.

    Args:
        stored: the sentence of the worker. One of another release is not translated.
    """
    if not stored or stored in _SENTENCES:
        return _(stored) if stored else ""
    for pattern, shown in _patterns():
        if match := pattern.fullmatch(stored):
            return _(shown).format_map({k: isolated(v) for k, v in match.groupdict().items()})
    return isolated(stored)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    compiled = []
    for sentence, shown in _PATTERNS:
        before, name, after = re.split(r"\{(\w+)\}", sentence)
        value = ".+" if name == "reply" else r"\w+"
        pattern = f"{re.escape(before)}(?P<{name}>{value}){re.escape(after)}"
        compiled.append((re.compile(pattern, re.DOTALL), shown))
    return compiled
