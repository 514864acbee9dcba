"""Open reviews of roles, remind of them, close them."""

from __future__ import annotations

from datetime import timedelta

from collegium.access import queries as access_queries
from collegium.access.rules import KINDS, Actor, Kinds
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import ReviewsPending
from collegium.refusals import Conflict
from collegium.reviews import queries as review_queries
from collegium.reviews.rules import COLLECT, MAIL_EVERY, REMIND_EVERY, fingerprint


def open_review(tx: WriteTransaction, scope: int, interval: timedelta) -> bool:
    """Open the review of a scope and notify those who may close it.

    Args:
        scope: id of the scope.

    Returns:
        Whether it was due; False if there was nothing to do.
    """
    access_queries.lock_scope(tx, scope)
    if not review_queries.is_due(tx, scope, interval):
        return False
    uuid = review_queries.add(tx, scope)
    if uuid is None:
        return False
    event_queries.record(tx, None, events.ReviewOpened(scope=scope, review=uuid))
    _notify(tx, scope)
    return True


def remind(tx: WriteTransaction, review: int) -> bool:
    """Remind those who may close a review that it is pending.

    Args:
        review: id of the review.

    Returns:
        Whether it was due; False if there was nothing to do.
    """
    scope = review_queries.mark_reminded(tx, review, REMIND_EVERY)
    if scope is None:
        return False
    _notify(tx, scope)
    return True


def _notify(tx: WriteTransaction, scope: int) -> None:
    """Queue one e-mail for each reviewer. It lists all reviews that are pending when it is sent."""
    for account in review_queries.reviewers(tx, scope):
        if review_queries.mark_mailed(tx, account.id, MAIL_EVERY):
            outbox_queries.enqueue(tx, ReviewsPending(account.email, account.id), tx.now + COLLECT)


def close(
    tx: WriteTransaction,
    actor: Actor,
    uuid: str,
    kinds: Kinds = frozenset(KINDS),
    *,
    seen: str | None = None,
) -> None:
    """Close a review, and record which roles the actor has looked at.

    Args:
        uuid: 32 hex digits.
        kinds: the kinds of scope that the protocol shows here.
        seen: ``fingerprint`` of the roles that a page has shown; None for all present ones.

    Raises:
        NotFound: ``review.unknown``: it is hidden from the actor.
        Forbidden: ``permission.missing``: the actor may only read it.
        Conflict: ``review.closed``: somebody has closed it. ``review.changed``: the roles have
            changed since they were shown.
    """
    review = review_queries.get_visible(tx, actor, uuid, kinds)
    needed = KINDS[review.scope_kind].review
    access = access_queries.get_visible_by_id(tx, actor, review.scope_id, *needed)
    access_queries.lock_scope_and_recheck(tx, actor, access, *needed)
    roles = review_queries.current_roles(tx, review.scope_id)
    if seen is not None and review.is_pending and seen != fingerprint(roles):
        raise Conflict("review.changed")
    if not review_queries.close(tx, review.id, actor.id):
        raise Conflict("review.closed")
    number = review_queries.record_roles(tx, review.id, review.scope_id)
    event_queries.record(
        tx,
        actor,
        events.ReviewClosed(scope=review.scope_id, review=review.uuid, roles=str(number)),
    )
