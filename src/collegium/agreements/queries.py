"""SQL of user agreements. Everybody may read them.

A row is one version of one text. A changed text is a new row with the same UUID; the replaced row
stays, because people have agreed to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    true,
    update,
)

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import BigInt, accounts, agreement_acceptances, agreements
from collegium.db.writing import insertion, unique_or
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, or_not_found


class AgreementRow:
    """One version of a text. Its language is empty if it is the default text."""

    id: int
    uuid: str
    kind: str
    language: str
    version: int
    content: str
    created_at: datetime
    modified_at: datetime


class AcceptedAgreement(AgreementRow):
    """A version to which an account has agreed."""

    accepted_at: datetime
    superseded_at: datetime | None


class _Count:
    agreement_id: int
    count: int


_accepted = agreements.alias("accepted")
_default = agreements.alias("default_text")
_is_current = agreements.c.superseded_at.is_(None)
_account = bindparam("account", type_=BigInt)

listing = Listing[AgreementRow](
    rows=select(agreements).where(_is_current),
    visible=true,
    key=agreements.c.id,
    default="kind",
    orders={"kind": (agreements.c.kind, agreements.c.language)},
)


def in_language(name: str) -> ColumnElement[bool]:
    """Return the condition that a text is in a language; without such a text the default counts.

    Args:
        name: name of the parameter.
    """
    language: ColumnElement[str] = bindparam(name, type_=agreements.c.language.type)
    return or_(
        agreements.c.language == language,
        and_(
            agreements.c.language == "",
            ~exists(
                select(_default.c.id).where(
                    _default.c.kind == agreements.c.kind,
                    _default.c.language == language,
                    _default.c.superseded_at.is_(None),
                )
            ),
        ),
    )


def _pending(account: ColumnElement[Any]) -> Select[Any]:
    """Select the current texts of each kind of which an account has agreed to no current text.

    A new translation asks nobody who has agreed to another one.
    """
    return select(agreements).where(
        _is_current,
        ~exists(
            select(agreement_acceptances.c.agreement_id)
            .join(_accepted, _accepted.c.id == agreement_acceptances.c.agreement_id)
            .where(
                agreement_acceptances.c.account_id == account,
                _accepted.c.kind == agreements.c.kind,
                _accepted.c.superseded_at.is_(None),
            )
            # Both may be tables of the statement around it.
            .correlate(agreements, accounts)
        ),
    )


_CURRENT = Statement[AgreementRow](
    select(agreements)
    .where(_is_current)
    .order_by(agreements.c.kind, agreements.c.language, agreements.c.id)
)
_BY_UUID: Final = select(agreements).where(agreements.c.uuid == bindparam("uuid"), _is_current)
_ONE = Statement[AgreementRow](_BY_UUID)
_ONE_LOCKED = Statement[AgreementRow](_BY_UUID.with_for_update(of=agreements))
_PENDING = Statement[AgreementRow](
    _pending(_account).order_by(agreements.c.kind, agreements.c.language, agreements.c.id)
)
_ACCEPTED = Statement[AcceptedAgreement](
    select(agreements, agreement_acceptances.c.accepted_at)
    .join(agreement_acceptances, agreement_acceptances.c.agreement_id == agreements.c.id)
    .where(agreement_acceptances.c.account_id == _account)
    .order_by(agreement_acceptances.c.accepted_at.desc(), agreements.c.id)
)
_COUNTS = Statement[_Count](
    select(agreement_acceptances.c.agreement_id, func.count().label("count"))
    .where(any_of(agreement_acceptances.c.agreement_id, "ids"))
    .group_by(agreement_acceptances.c.agreement_id)
)
_COLUMNS: Final = ("uuid", "kind", "language", "version", "content", "created_at", "modified_at")
_INSERT = Statement[int](insertion(agreements, _COLUMNS).returning(agreements.c.id))
_SUPERSEDE = Statement(
    update(agreements)
    .where(agreements.c.id == bindparam("agreement", type_=BigInt))
    .values(superseded_at=bindparam("moment", type_=UtcDateTime))
)
_ACCEPTED_BEFORE = Statement[int](
    select(agreement_acceptances.c.agreement_id).where(
        agreement_acceptances.c.account_id == _account,
        any_of(agreement_acceptances.c.agreement_id, "ids"),
    )
)
_ACCEPT = Statement(
    insert(agreement_acceptances).values(
        account_id=bindparam("account"),
        agreement_id=bindparam("agreement"),
        accepted_at=bindparam("moment"),
    )
)
_must_agree = and_(
    accounts.c.is_staff.is_(False), exists(_pending(accounts.c.id).correlate(accounts))
)
_RECORD_SIGN_IN = Statement(
    update(accounts)
    .where(accounts.c.id == _account)
    .values(
        last_login_at=bindparam("moment", type_=UtcDateTime),
        must_agree=_must_agree,
        agreed_at=case((_must_agree, null()), else_=accounts.c.agreed_at),
    )
)


def current(tx: ReadTransaction) -> list[AgreementRow]:
    """Return the current texts, those of one kind together."""
    return tx.fetch_all(_CURRENT)


def pending(tx: ReadTransaction, account: int) -> list[AgreementRow]:
    """Return the current texts, in all languages, of the kinds that an account must agree to."""
    return tx.fetch_all(_PENDING, account=account)


def accepted_by(tx: ReadTransaction, account: int) -> list[AcceptedAgreement]:
    """Return the versions to which an account has agreed, the latest first."""
    return tx.fetch_all(_ACCEPTED, account=account)


def counts(tx: ReadTransaction, ids: Iterable[int]) -> dict[int, int]:
    """Return the number of accounts that agreed to each of these versions, by id."""
    return {row.agreement_id: row.count for row in tx.fetch_all(_COUNTS, ids=list(ids))}


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> AgreementRow:
    """Return the current version of a text. Everybody may read it.

    Raises:
        NotFound: ``agreement.unknown``.
    """
    del actor
    return or_not_found(tx.fetch_one(_ONE, uuid=uuid), "agreement.unknown")


def get_locked(tx: WriteTransaction, uuid: str) -> AgreementRow:
    """Return the current version of a text with its row locked.

    Raises:
        NotFound: ``agreement.unknown``.
    """
    # The first statement may have waited for a transaction that replaced the row. It then finds
    # nothing, and the second one finds the new row.
    row = tx.fetch_one(_ONE_LOCKED, uuid=uuid) or tx.fetch_one(_ONE_LOCKED, uuid=uuid)
    return or_not_found(row, "agreement.unknown")


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> str:
    """Insert a version, the first one unless ``values`` has a UUID. Return its UUID.

    Raises:
        Invalid: ``agreement.taken``: there is a current text of this kind in this language. A
            unique index decides, so of two concurrent texts one is refused.
    """
    row = {
        "uuid": uuid4().hex,
        "version": 1,
        "language": "",
        "created_at": tx.now,
        "modified_at": tx.now,
        **values,
    }
    with unique_or(tx, Invalid("agreement.taken", field="language")):
        tx.fetch_only(_INSERT, **{name: row[name] for name in _COLUMNS})
    return str(row["uuid"])


def supersede(tx: WriteTransaction, agreement: int) -> None:
    """Make a version a former one."""
    tx.execute(_SUPERSEDE, agreement=agreement, moment=tx.now)


def accept(tx: WriteTransaction, account: int, ids: Iterable[int]) -> list[int]:
    """Record that an account agrees to versions. Return the ids of those it had not agreed to.

    The account must be locked.
    """
    wanted = list(ids)
    if not wanted:
        return []
    before = set(tx.fetch_all(_ACCEPTED_BEFORE, account=account, ids=wanted))
    new = [one for one in wanted if one not in before]
    for one in new:
        tx.execute(_ACCEPT, account=account, agreement=one, moment=tx.now)
    return new


def record_sign_in(tx: WriteTransaction, account: int) -> None:
    """Record the time of a sign-in, and whether there is something to agree to again.

    Staff are not asked: they publish the texts.
    """
    tx.execute(_RECORD_SIGN_IN, account=account, moment=tx.now)
