"""Create a small, realistic data set that is the same on every machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import Database, WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.memberships import actions as membership_actions
from collegium.roles import queries as role_queries
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.security.crypto import Vault, hash_password
from collegium.settings import Settings
from collegium.sign_in.tokens.actions import actor_of

PUBLISHED_PASSWORD: Final = "demo-only-harbour-lantern"  # noqa: S105 - published on purpose
"""Password of the demo accounts in the database of a source checkout, and nowhere else."""

PEOPLE: Final = (
    ("ines", "Ines", "Moreau", "Head of department"),
    ("tomasz", "Tomasz", "Zielinski", "Group leader"),
    ("aiko", "Aiko", "Tanaka", "Postdoctoral researcher"),
    ("samuel", "Samuel", "Okafor", "Doctoral student"),
    ("lena", "Lena", "Bergstrom", "Data steward"),
)

# Organisation → its owners, its projects → (user name, role, days until the end or None).
ORGANISATIONS: Final[
    Mapping[str, tuple[tuple[str, ...], Mapping[str, Sequence[tuple[str, str, int | None]]]]]
] = {
    "Institute for Coastal Research": (
        ("ines",),
        {
            "Tidal energy survey": (
                ("tomasz", "PROJECT.MANAGER", None),
                ("aiko", "PROJECT.MEMBER", 180),
            ),
            "Sediment archive": (("lena", "PROJECT.ADMIN", None),),
        },
    ),
    "Department of Linguistics": (
        ("lena",),
        {"Endangered dialects corpus": (("samuel", "PROJECT.MEMBER", 90),)},
    ),
}

INVITED: Final = (
    ("Tidal energy survey", "PROJECT.MEMBER", "newcomer@example.org"),
    ("Sediment archive", "PROJECT.MEMBER", "archivist@example.org"),
)


_HINT: Final = f"""\
The demo data is ready. The accounts sign in with the password {{password}}:
{", ".join(who[0] for who in PEOPLE)}.

Invite a colleague to the project "{INVITED[0][0]}":

  curl -X POST {{base}}/api/user-invitations/ \\
    -H "Authorization: Token $TOKEN" -H "Content-Type: application/json" \\
    -d '{{{{"scope": "/api/projects/{{project}}/", "role": "{{role}}",
         "email": "you@example.org"}}}}'
"""


class DemoData(NamedTuple):
    """What somebody needs to try the demo data.

    Args:
        project: UUID of a project, 32 hex digits.
        role: UUID of a role to invite to, 32 hex digits.
        password: Password of all accounts except the deactivated staff account.
    """

    project: str
    role: str
    password: str


def hint(base: str, data: DemoData) -> str:
    """Return the text that ``collegium demo`` prints last. Only this text shows the password."""
    return _HINT.format(base=base, **data._asdict())


class NotEmptyError(Exception):
    """The database already has accounts."""


def is_own_file(settings: Settings) -> bool:
    """Tell whether the database is the file ``var/collegium.db`` of a source checkout.

    Any other database may belong to a service that others can reach. A published password would
    open its accounts to everybody.
    """
    path = settings.database_path
    root = Path(__file__).resolve().parents[2]
    is_checkout = (root / "script" / "server").is_file() and (root / "pyproject.toml").is_file()
    return is_checkout and path is not None and path.resolve() == root / "var" / "collegium.db"


def fill(database: Database, settings: Settings, vault: Vault) -> DemoData:
    """Write the demo data in one transaction.

    Raises:
        NotEmptyError: The database already has accounts.
    """
    password = PUBLISHED_PASSWORD if is_own_file(settings) else secrets.token_urlsafe(16)
    password_hash = hash_password(password)
    with database.write() as tx:
        if account_queries.any_exist(tx):
            raise NotEmptyError
        keeper = _person(tx, settings, vault, ("demo", "Demo", "Keeper", ""), None)
        account_queries.change(tx, keeper.id, {"is_staff": True})
        staff = actor_of(account_queries.existing(tx, keeper.id))
        people = {who[0]: _person(tx, settings, vault, who, password_hash) for who in PEOPLE}
        for name, (owners, projects) in ORGANISATIONS.items():
            uuid = organisation_actions.create(tx, staff, settings, {"name": name})
            for owner in owners:
                _grant_role(
                    tx, staff, ScopeKind.ORGANISATION, uuid, people[owner], "CUSTOMER.OWNER", None
                )
            _projects(tx, actor_of(people[owners[0]]), settings, uuid, projects, people)
        newest = project_queries.listing.page(tx, staff, {}, ("-name",), 1, 0)
        role = role_queries.existing(tx, INVITED[0][1])
        # The staff account was needed only for this. Nobody can sign in with it.
        account_queries.change(tx, keeper.id, {"is_active": False})
    return DemoData(str(newest[0].uuid), str(role.uuid), password)


def _person(
    tx: WriteTransaction,
    settings: Settings,
    vault: Vault,
    identity: tuple[str, str, str, str],
    password_hash: str | None,
) -> AccountRow:
    username, first, last, job = identity
    account_id = account_actions.create(
        tx,
        None,
        settings,
        vault,
        {
            "username": username,
            "email": f"{username}@example.org",
            "first_name": first,
            "last_name": last,
            "job_title": job,
        },
    )
    if password_hash is not None:
        account_actions.set_password(tx, None, account_id, password_hash, notify=False)
    return account_queries.existing(tx, account_id)


def _projects(
    tx: WriteTransaction,
    owner: Actor,
    settings: Settings,
    parent: str,
    projects: Mapping[str, Sequence[tuple[str, str, int | None]]],
    people: Mapping[str, AccountRow],
) -> None:
    for name, assignments in projects.items():
        access = access_queries.get_visible(tx, owner, ScopeKind.ORGANISATION, parent)
        uuid = project_actions.create(tx, owner, access, {"name": name})
        for username, role, days in assignments:
            _grant_role(tx, owner, ScopeKind.PROJECT, uuid, people[username], role, days)
        for project, role, address in INVITED:
            if project == name:
                invitation_actions.create(
                    tx,
                    owner,
                    settings,
                    access_queries.get_visible(tx, owner, ScopeKind.PROJECT, uuid),
                    role_queries.existing(tx, role),
                    {"email": address},
                )


def _grant_role(
    tx: WriteTransaction,
    staff: Actor,
    kind: ScopeKind,
    scope: str,
    person: AccountRow,
    role: str,
    days: int | None,
) -> None:
    membership_actions.add(
        tx,
        staff,
        membership_actions.RoleAssignment(
            access_queries.get_visible(tx, staff, kind, scope),
            role_queries.existing(tx, role),
            person,
        ),
        None if days is None else tx.now + timedelta(days=days),
    )
