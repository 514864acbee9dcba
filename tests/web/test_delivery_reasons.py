"""Why an e-mail or the call of a hook was not delivered, in the language of the reader."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from collegium.hooks import actions as hook_actions
from collegium.hooks import revocation
from collegium.outbox.actions import DISCARDED
from collegium.text import languages
from collegium.web.delivery_reasons import delivery_reason
from collegium.worker import smtp

WORKER = Path(smtp.__file__).parent
RAISED = {"UndeliverableError", "UnreachableError", "ObsoleteError", "_Failed"}


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the text of a constant or of an f-string, with a number for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "550" for part in node.values)
        yield "".join(map(str, parts))


def reasons() -> Iterator[str]:
    """Yield every sentence that the worker can store."""
    for name in ("hook_calls", "mails", "smtp", "transport", "webhook", "worker"):
        for node in ast.walk(ast.parse((WORKER / f"{name}.py").read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED and node.args:
                yield from texts(node.args[0])
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
                yield from texts(node.value)
    for kind, _template in smtp._REASONS:
        error = kind.__new__(kind)
        error.args, error.code, error.verify_message = (), 535, "expired"  # type: ignore[attr-defined]
        error.errno = 111  # type: ignore[attr-defined]
        yield smtp._unreachable_reason(error)
    yield smtp._unreachable_reason(OSError("no number"))
    yield from (hook_actions._INACTIVE, revocation._REASON, DISCARDED)


NOT_SHOWN = {
    "Another worker has claimed the e-mail.",
    # Of e-mails that pages do not show.
    "The change was cancelled, confirmed or requested again.",
    "The hook was removed or is active again.",
}


@pytest.mark.parametrize("reason", sorted(set(reasons()) - NOT_SHOWN))
def test_reason_of_the_worker_is_shown_in_the_language_of_the_reader(reason: str) -> None:
    with languages.using("de"):
        shown = delivery_reason(reason)
    assert shown not in {"", reason, delivery_reason(reason)}
    for word in ("Connection refused", "expired", "550", "535"):
        if word in reason and "it is 550" not in reason:
            assert word in shown


def test_what_others_have_said_is_a_quotation() -> None:
    reply = "550 5.1.1 {No} such person"
    stored = f"The mail server refused the e-mail: {reply}"
    assert delivery_reason(stored) == f"The mail server refused the e-mail: “{reply}”"
    with languages.using("de"):
        assert delivery_reason(stored) == f"Der Mailserver hat die E-Mail abgelehnt: „{reply}“"
        assert delivery_reason("A sentence of an earlier release.").startswith("A sentence of")
        assert delivery_reason("") == ""
