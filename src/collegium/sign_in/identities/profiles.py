"""Fill the profile of a person by what a provider states, and take it back when nobody states it.

``withdraw`` comes after the last identity of an issuer. Claim rules judge the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts import rules as account_rules
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountDetails
from collegium.claim_rules import granting
from collegium.claim_rules.rules import Facts
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import as_dict
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import Conflict
from collegium.scopes.actions import change_account
from collegium.settings import Settings
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities.queries import ListedIdentity
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import vouched_claims
from collegium.sign_in.providers.values import Claims
from collegium.text.email_addresses import same_mailbox

_DATE: Final = "birth_date"


class Stated(NamedTuple):
    """What a provider states about a person, as far as its mapping fills the profile with it.

    Args:
        columns: of the account; see ``identity_rules.profile``.
        email: the address that it proves; empty if there is none, or if it is not mapped.
    """

    columns: dict[str, Any]
    email: str


def read(provider: ProviderRow, claims: Claims) -> Stated:
    """Return what the claims of a person fill."""
    email = ""
    if "email" in provider.attribute_mapping:
        email = identity_rules.trusted_email(claims, provider.trusted_domains)
    return Stated(identity_rules.profile(claims.claims, provider), email)


def to_text(stated: Stated, provider: ProviderRow) -> str:
    """Return what a provider states as a text, for the time until a code is entered."""
    facts = (stated.columns, stated.email, provider.modified_at.isoformat())
    return msgspec.json.encode(facts).decode()


def from_text(text: str, provider: ProviderRow) -> Stated | None:
    """Return what ``to_text`` made a text of; None if the provider was changed since.

    Staff may have taken back a trusted domain, or a claim that it vouched for.
    """
    columns, email, version = msgspec.json.decode(text, type=tuple[dict[str, Any], str, str])
    if version != provider.modified_at.isoformat():
        return None
    if _DATE in columns:
        columns[_DATE] = date.fromisoformat(columns[_DATE])
    return Stated(columns, email)


def changes(
    tx: ReadTransaction,
    provider: ProviderRow,
    stated: Stated,
    account: AccountDetails,
    *,
    waits: bool = False,
) -> dict[str, Any]:
    """Return the columns of an account that a sign-in fills; none if it does not come from there.

    What the provider has stated earlier and states no more is empty, so that no right outlives it.

    Args:
        waits: whether the person has yet to enter a code. Then only what rights depend on follows
            the provider, and the person's own facts wait for the code.
    """
    method, sources = account.registration_method, account.attribute_sources
    if not account_rules.came_from(method, sources, provider.name, provider.issuer):
        return {}
    earlier = account_rules.fields_from(sources, provider.name, provider.issuer)
    columns: dict[str, Any] = identity_rules.withdrawn(earlier, stated.columns) | stated.columns
    if waits:
        return {
            name: value for name, value in columns.items() if name in identity_rules.RIGHTS_DEPEND
        }
    if (
        stated.email
        and not identity_rules.has_rights(account)
        and not same_mailbox(stated.email, account.email)
        and not account_queries.at_email(tx, stated.email)
    ):
        columns["email"] = stated.email
    number = columns.get("civil_number")
    if number and (
        account.civil_number or account_queries.with_password(tx, civil_number=number) is not None
    ):
        # A number that was recorded once identifies the person.
        del columns["civil_number"]
    if method != provider.name and not _speaks_still(tx, method, provider.issuer):
        columns[account_rules.REGISTRATION] = provider.name
    return columns


def _speaks_still(tx: ReadTransaction, name: str, issuer: str) -> bool:
    """Return whether people can still sign in with the provider that has a name."""
    provider = provider_queries.by_name(tx, name)
    return provider is not None and provider.is_active and provider.issuer == issuer


def refresh(
    tx: WriteTransaction,
    settings: Settings,
    provider: ProviderRow,
    actor: Actor,
    before: AccountDetails,
    columns: dict[str, Any],
) -> None:
    """Store what the provider says now in the profile.

    Args:
        before: the account, which is locked.
        columns: from ``changes``.
    """
    if not columns:
        return
    if email := columns.get("email", ""):
        account_queries.lock_address(tx, email)
        if account_queries.at_email(tx, email):
            # Another sign-in has just taken it.
            del columns["email"]
    method = columns.get(account_rules.REGISTRATION, before.registration_method)
    stated = [name for name, value in columns.items() if not account_rules.is_empty(value)]
    sources = {
        name: source for name, source in before.attribute_sources.items() if name not in columns
    } | account_rules.attribute_sources(stated, provider.name, tx.now, provider.issuer)
    sources |= account_rules.attribute_sources(
        [account_rules.REGISTRATION], method, tx.now, provider.issuer
    )
    _store(tx, settings, actor, before, columns, sources, provider.name)
    if columns.get("email", before.email) != before.email:
        email_change_actions.supersede(tx, before, columns["email"])


def _store(
    tx: WriteTransaction,
    settings: Settings,
    actor: Actor | None,
    before: AccountDetails,
    columns: Mapping[str, Any],
    sources: Mapping[str, Any],
    by: str,
) -> None:
    """Write columns of an account, where they come from, and the event.

    Args:
        actor: None if a provider was removed.
        by: name of the provider.
    """
    shown = as_dict(before)
    changed = {name: value for name, value in columns.items() if shown[name] != value}
    said = {"attribute_sources": dict(sources)}
    if not changed:
        account_queries.change(tx, before.id, said)
        return
    try:
        change_account(tx, before.id, changed | said | {"modified_at": tx.now})
    except Conflict as refusal:
        # Another transaction has just given the civil number to an account. Next time it is left
        # out, see ``changes``.
        raise Conflict("identity.concurrent") from refusal
    facts = {name: [_plain(shown[name]), _plain(value)] for name, value in changed.items()}
    event_queries.record(
        tx,
        actor,
        events.AccountUpdated(account=before.id, username=before.username, changes=facts, by=by),
    )
    profile_actions.notify_operator(tx, actor, settings, before, changed)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def facts_after(
    tx: ReadTransaction,
    account: AccountDetails,
    columns: Mapping[str, Any],
    claims: Mapping[int, Mapping[str, Any] | None],
) -> Facts:
    """Return what claim rules compare, as it will be after a change.

    Args:
        columns: of the account that change.
        claims: new claims by the id of the identity; None for one that goes.
    """
    facts = granting.facts_of(tx, account)
    known = {**facts.claims, **claims}
    return replace(
        facts,
        email=columns.get("email", facts.email),
        affiliations=tuple(columns.get("affiliations", facts.affiliations)),
        identity_source=columns.get("identity_source", facts.identity_source),
        claims={identity: said for identity, said in known.items() if said is not None},
    )


def said_by(claims: Claims, provider: ProviderRow) -> dict[str, Any]:
    """Return the claims that claim rules compare after a sign-in."""
    kept = identity_rules.kept_claims(claims, provider.extra_fields)
    return vouched_claims({**kept, "iss": claims.issuer}, provider)


def lock_for_removal(
    tx: WriteTransaction, account: int, gone: Sequence[ListedIdentity]
) -> list[int]:
    """Lock the scopes in which roles end when identities are removed, then the account.

    Args:
        account: id of the account.
        gone: its identities that will be removed.

    Returns:
        The ids of the scopes, for ``withdraw``.
    """
    ids: dict[int, None] = {row.id: None for row in gone}

    def load_facts(tx: ReadTransaction, details: AccountDetails) -> Facts:
        return facts_after(tx, details, _without(tx, details, gone), ids)

    scopes = granting.scopes_to_lock(tx, account_queries.existing(tx, account), load_facts)
    granting.lock(tx, scopes)
    lock_account(tx, account)
    return scopes


def withdraw(
    tx: WriteTransaction,
    settings: Settings,
    actor: Actor | None,
    account: int,
    gone: Sequence[ListedIdentity],
    locked: Collection[int],
) -> None:
    """Take back what rests on identities: affiliations and the like, and roles by claim rules.

    What another identity of the same issuer has stated stays. Name, address and other facts that
    give no right stay too.

    Args:
        actor: who removes the identities; None for the operator.
        account: id of the account, which is locked.
        gone: identities that were removed, or whose provider was.
        locked: from ``lock_for_removal``.
    """
    before = account_queries.existing(tx, account)
    columns = _without(tx, before, gone)
    if columns:
        sources = {
            name: said for name, said in before.attribute_sources.items() if name not in columns
        }
        by = gone[0].provider_name or gone[0].issuer
        _store(tx, settings, actor, before, columns, sources, by)
    granting.apply(tx, settings, account_queries.existing(tx, account), locked)


def _without(
    tx: ReadTransaction, account: AccountDetails, gone: Sequence[ListedIdentity]
) -> dict[str, Any]:
    """Return the columns that nobody vouches for any more without some identities, emptied."""
    removed = {row.id for row in gone}
    kept = {
        row.issuer
        for row in identity_queries.of_account(tx, account.id)
        if row.id not in removed and row.provider_id is not None
    }
    fields = [
        field
        for row in gone
        if row.issuer not in kept
        for field in account_rules.fields_from(
            account.attribute_sources, row.provider_name or "", row.issuer
        )
    ]
    empty = identity_rules.withdrawn(fields, ())
    return {name: value for name, value in empty.items() if name in identity_rules.RIGHTS_DEPEND}
