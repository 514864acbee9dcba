"""Proving again who one is, where a click alone must not be enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.api import sign_in
from collegium.refusals import Conflict, Invalid
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.web import profile
from collegium.web.messages import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.db.database import Read, Write
    from collegium.web.browser_request import Visit

PASSWORD: Final = "password"  # noqa: S105 - the name of a field
FACTOR: Final = "factor"


def proof(visit: Visit, tx: Read) -> str:
    """Return the name of the field that must be filled in: a code where the second factor is on."""
    return FACTOR if two_factor_queries.is_on(tx, visit.actor.id) else PASSWORD


def confirmed(visit: Visit, then: Callable[[Write], None]) -> None:
    """Do something in one transaction of ``visit.create``, if the form proves who is signed in.

    What is wrong with the proof, or refused, is noted at its field of the form.

    Refuses: NotFound as ``then``, Limited ``tries.wait`` after too many wrong proofs.
    """
    form = visit.form
    with visit.read() as tx:
        field = proof(visit, tx)
    try:
        if field == FACTOR:
            code = form.text(field, 100, required=True)
            if form.ok:
                sign_in.with_code(visit, visit.actor, code, then, begin=visit.create)
        elif profile.knows(visit, field, form.raw(field)[:128]):
            with visit.create() as tx:
                then(tx)
    except (Conflict, Invalid) as refusal:
        if refusal.code.startswith("second_factor."):
            form.wrong(field, say(refusal))
        else:
            form.refused(refusal)
