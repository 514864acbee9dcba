"""The page of the e-mails, from ``collegium.outbox.mails``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

from collegium.accounts.mail_preferences.rules import OPTIONAL
from collegium.outbox import mails
from collegium.outbox.mails import Mail
from collegium.web.staff_mails import KINDS
from docgen import markdown
from docgen.markdown import code, table

_INTRODUCTION: Final = """Every e-mail has its kind in the header `X-Collegium-Mail`, and \
templates of that name
([templates](../operating.md#worker-and-e-mails)). [E-mails about \
roles](../operating.md#e-mails-about-roles) says which event leads to which e-mail. People turn
off those that say so, at *My account → E-mails* or with one click in the e-mail. Accounts \
without notifications get none of these."""


def page() -> str:
    """Return the page."""
    rows = sorted(_rows())
    heads = ("kind", "name on the pages for staff", "what it is", "to", "can be turned off")
    return markdown.page(
        "E-mails", "src/collegium/outbox/mails.py", _INTRODUCTION, table(heads, rows)
    )


def _rows() -> Iterator[tuple[str, str, str, str, str]]:
    for mail in declared():
        what, to = purpose(mail)
        yield code(mail.kind), str(KINDS[mail.kind]), what, to, _choice(mail.kind)


def declared() -> Iterator[type[Mail]]:
    """Yield every kind of e-mail, without the classes that several share."""
    for mail in vars(mails).values():
        if isinstance(mail, type) and issubclass(mail, Mail) and "kind" in vars(mail):
            yield mail


def purpose(mail: type[Mail]) -> tuple[str, str]:
    """Return what an e-mail is and to whom it goes, from the first line of its docstring.

    Raises:
        ValueError: The line does not end with the recipient, after ", to ".
    """
    line, _, _ = inspect.cleandoc(mail.__doc__ or "").partition("\n")
    what, comma, to = line.removesuffix(".").rpartition(", to ")
    if not comma:
        raise ValueError(f"{mail.__name__} does not say to whom it is sent")
    return what, to


def _choice(kind: str) -> str:
    match OPTIONAL.get(kind):
        case None:
            return ""
        case True:
            return "yes"
        case False:
            return "yes; only sent to those who turn it on"
