"""Actions on user agreements: publish, change and remove. All of them require staff."""

from __future__ import annotations

from collections.abc import Mapping

from collegium.access.rules import Actor, require_staff
from collegium.agreements import queries as agreement_queries
from collegium.agreements.queries import AgreementRow
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events


def publish(tx: WriteTransaction, actor: Actor, values: Mapping[str, str]) -> str:
    """Publish a text and return its UUID. People are asked to agree at their next sign-in.

    Args:
        values: ``kind``, ``content`` and perhaps ``language``.

    Raises:
        Forbidden: ``permission.missing``.
        Invalid: ``agreement.taken``: there is a text of this kind in this language.
    """
    require_staff(actor)
    uuid = agreement_queries.add(tx, values)
    row = agreement_queries.get_visible(tx, actor, uuid)
    event_queries.record(tx, actor, events.AgreementPublished(**_facts(row)))
    return uuid


def change(tx: WriteTransaction, actor: Actor, uuid: str, changes: Mapping[str, str]) -> None:
    """Publish a new version of a text. Those who agreed to it are asked at their next sign-in.

    Nothing happens if nothing changes.

    Raises:
        Forbidden: ``permission.missing``.
        NotFound: ``agreement.unknown``.
        Invalid: ``agreement.taken``.
    """
    require_staff(actor)
    row = agreement_queries.get_locked(tx, uuid)
    names = ("kind", "language", "content")
    before = {name: getattr(row, name) for name in names}
    after = before | {name: changes[name] for name in names if name in changes}
    if after == before:
        return
    agreement_queries.supersede(tx, row.id)
    agreement_queries.add(
        tx, {**after, "uuid": row.uuid, "version": row.version + 1, "created_at": row.created_at}
    )
    row = agreement_queries.get_visible(tx, actor, uuid)
    event_queries.record(tx, actor, events.AgreementChanged(**_facts(row)))


def remove(tx: WriteTransaction, actor: Actor, uuid: str) -> None:
    """Remove a text. Nobody is asked to agree to it any more; who has agreed to it stays recorded.

    Raises:
        Forbidden: ``permission.missing``.
        NotFound: ``agreement.unknown``.
    """
    require_staff(actor)
    row = agreement_queries.get_locked(tx, uuid)
    agreement_queries.supersede(tx, row.id)
    event_queries.record(tx, actor, events.AgreementRemoved(**_facts(row)))


def _facts(row: AgreementRow) -> dict[str, str]:
    return {
        "agreement": row.uuid,
        "agreement_kind": row.kind,
        "language": row.language,
        "version": str(row.version),
    }
