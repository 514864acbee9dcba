"""Two organisations with an object of every kind, and valid bodies for every route.

A route on a resource that is not known here fails until its object is added.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest

from collegium import values
from collegium.access.rules import ScopeKind
from collegium.agreements import actions as agreement_actions
from collegium.api.request import Endpoint
from collegium.api.waldur import (
    claim_rules,
    hooks,
    identity_providers,
    imports,
    invitations,
    passkeys,
    roles,
)
from collegium.events import queries as event_queries
from collegium.hooks.rules import Kind
from collegium.reviews import queries as review_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys.rules import parse
from tests.access.test_visibility import add_role
from tests.claim_rules.scene import add_rule
from tests.imports.scene import add_import
from tests.roles.scene import add_availability
from tests.rules.test_providers import VALID
from tests.support.hooks import DESTINATION, add_hook
from tests.support.passkeys import add_passkey
from tests.support.remote import new_key
from tests.support.world import Person, Place, World

CIVIL_NUMBER = "38001085718"


@dataclass(frozen=True)
class Scene:
    """Objects of one organisation, and an account outside of it."""

    organisation: Place
    project: Place
    member: Person
    owner: Person
    stranger: Person
    invitation: str
    link: str
    role: str
    owner_role: str
    uuids: dict[str, str]
    provider: ProviderRow

    def object_of(self, path: str) -> str:
        """Return the UUID of the object for the resource of a path."""
        resource = path.split("/")[2]
        assert resource in self.uuids, f"/api/{resource}/ is new: add an object to the scene"
        return self.uuids[resource]


@pytest.fixture
def scene(world: World) -> Scene:
    owner, member = world.person("secretowner"), world.person("secretmember")
    organisation = world.organisation("Secret Society", owner=owner)
    project = world.project(organisation, "Secret Engine")
    world.give_role(member, "PROJECT.MEMBER", project)
    with world.database.write() as tx:
        passkey, _another = (add_passkey(tx, world.staff.id) for _ in range(2))
        key = ssh_key_actions.create(tx, owner.actor, parse(new_key()), "of the owner")
        agreement = agreement_actions.publish(
            tx, world.staff.actor, {"kind": "privacy", "content": "We keep little."}
        )
        added = {f"hooks-{kind}": add_hook(tx, owner, kind) for kind in Kind}
        reviews = {
            f"{noun}-permissions-reviews": str(review_queries.add(tx, place.id))
            for noun, place in (("customer", organisation), ("project", project))
        }
        add_role(tx, "CUSTOM.UNUSED", ScopeKind.PROJECT, ())
        filters = {"related": member.uuid, "project": project.uuid}
        (event,) = event_queries.listing.page(tx, world.staff.actor, filters, (), 2, 0)
    link = world.create_link(world.staff, "CUSTOMER.OWNER", organisation)
    provider = world.provider()
    availability, concealment = add_availability(world, organisation)
    return Scene(
        organisation=organisation,
        project=project,
        member=member,
        owner=owner,
        stranger=world.person("stranger"),
        invitation=world.invite(owner, "invited@example.org", "PROJECT.ADMIN", project),
        link=link,
        role=world.role("PROJECT.MEMBER").uuid,
        owner_role=world.role("CUSTOMER.OWNER").uuid,
        provider=provider,
        uuids={
            "users": member.uuid,
            "customers": organisation.uuid,
            "projects": project.uuid,
            "user-invitations": world.invite(
                owner, "locked@example.org", "PROJECT.ADMIN", project, civil_number=CIVIL_NUMBER
            ),
            "user-group-invitations": link,
            "imports": add_import(world, owner, project, "judged", "somebody"),
            "user-permission-requests": world.ask(
                world.person("asker"), world.create_link(owner, "PROJECT.ADMIN", project)
            ),
            "user-permissions": world.grants_in(project)[0].uuid,
            "roles": world.role("CUSTOM.UNUSED").uuid,
            "role-availabilities": availability,
            "customer-role-concealments": concealment,
            "identity-providers": provider.name,
            "autoprovisioning-rules": add_rule(world, organisation, "CUSTOMER.OWNER"),
            "user-agreements": agreement,
            **reviews,
            **added,
            "hooks": "",
            "keys": key,
            "passkeys": passkey,
            "staff-passkeys": passkey,
            "events": event.uuid,
            "notification-messages-templates": uuid5(
                NAMESPACE_URL, "users/invitation_created_message.html"
            ).hex,
        },
    )


SAMPLES: dict[type[values.Kind], Any] = {
    values.Boolean: False,
    values.Integer: 60,
    values.Decimal: 1.5,
    values.Date: (datetime.now(UTC) + timedelta(days=30)).date().isoformat(),
    values.DateTime: (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    values.Uuid: uuid4().hex,
    values.File: None,
    imports.ColumnsMapping: None,
    imports.RowNumbers: None,
    roles.Permissions: ["PROJECT.UPDATE"],
    passkeys.Credential: {"id": "x"},
    invitations.Invitees: [],
    identity_providers.ClaimMapping: {"email": "mail"},
    claim_rules.AcceptedClaims: {"groups": ["physics"]},
}
TEXTS = (
    "EE",
    "somebody@example.org",
    "+372 5555",
    "1.00",
    "10.0.0.0/8",
    "https://example.org/",
    "en",
)


def sample(name: str, kind: values.Kind) -> Any:
    """Return a value that a field accepts."""
    if isinstance(kind, values.Text):
        return next(text for text in TEXTS if is_accepted(kind, text))
    if isinstance(kind, hooks.Words):
        return [next(iter(kind.of))]
    if isinstance(kind, values.StringList):
        return [next(text for text in TEXTS if is_accepted(kind, [text]))]
    if name == "content_type":
        return "project"
    if isinstance(kind, values.Choice):
        return next(iter(kind.of))
    assert type(kind) in SAMPLES, f"add a sample of {type(kind).__name__}, for {name}"
    return SAMPLES[type(kind)]


def is_accepted(kind: values.Kind, raw: str | list[str]) -> bool:
    try:
        kind.parse(raw)
    except values.InvalidValueError:
        return False
    return True


def body_for(path: str, operation: Endpoint, scene: Scene) -> dict[str, Any]:
    """Return a valid body for an operation."""
    body = {name: sample(name, kind) for name, kind in (operation.body or {}).items()}
    resource = path.split("/")[2]
    objects: dict[str, Any] = {
        "customer": scene.organisation.uuid
        if resource in {"roles", "customer-role-concealments"}
        else scene.organisation.path,
        "scope": scene.project.path,
        "role": scene.owner_role if resource == "customers" else scene.role,
        "project_role": scene.role,
        "user": scene.stranger.uuid,
        "slug": f"s-{uuid4().hex}",
        "user_email_patterns": [".*"],
        "code": uuid4().hex,
        "password": "not-the-right-one-41",
        "new_password": "purple-tram-lifts-9",
    }
    if path == "/api/user-group-invitations/{uuid}/":
        objects |= {"scope": scene.organisation.path, "role": scene.owner_role}
    if resource == "imports":
        objects["text"] = f"{uuid4().hex}@example.org"
    if resource == "customer-role-concealments":
        # A role that no other request gives.
        objects["role"] = scene.uuids["roles"]
    if resource == "roles":
        objects["name"] = f"CUSTOM.{uuid4().hex}"
        objects["content_type"] = "project"
    if path == "/api/user-agreements/":
        objects["language"] = "et"
    if resource == "hooks-web":
        objects |= {"content_type": "form", "destination_url": DESTINATION}
    if resource == "hooks-email":
        objects["email"] = scene.owner.email
    if resource == "identity-providers":
        objects |= {**VALID, "provider": "campus", "verify_ssl": True}
        objects["discovery_url"] = scene.provider.discovery_url
    if resource == "autoprovisioning-rules":
        body = {
            **body,
            "customer_role": scene.owner_role,
            "project_role": scene.role,
            "customer_role_name": None,
            "project_role_name": None,
            "project_name_template": "Lab",
            "plan": None,
        }
        objects["user_uuid"] = scene.member.uuid
    return body | {name: value for name, value in objects.items() if name in body}
