"""Endpoints for SSH keys: ``/api/keys/``."""

from __future__ import annotations

from typing import ClassVar, Final

from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import Resource, ResourceList, field, link
from collegium.api.waldur import lists
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import BEFORE, BOOLEAN, CONTAINS, EXACT, SINCE, UUID
from collegium.db.tables import ssh_keys
from collegium.refusals import Invalid
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, PublicKey, parse
from collegium.values import Name, Text


class SshKey(Resource, frozen=True):
    """An SSH key."""

    sparse: ClassVar = True

    url: str = link("/api/keys/{}/", "uuid")
    uuid: str = field(filter=UUID)
    name: str = field(
        write=Name(max=NAME_MAX),
        filter={"name": CONTAINS, "name_exact": EXACT},
        order=ssh_keys.c.name_sort,
    )
    public_key: str = field(write=Text(required=True, blank=False, max=LENGTH_MAX))
    fingerprint_md5: str = field(filter=EXACT)
    fingerprint_sha256: str = field(filter=EXACT)
    fingerprint_sha512: str = field(filter=EXACT)
    user_uuid: str = field("account_uuid", filter=UUID)
    is_shared: bool = field(filter=BOOLEAN)
    type: str = field("kind")


LIST: Final = ResourceList(
    SshKey,
    ssh_key_queries.listing,
    filters={
        "created": SINCE.on(ssh_keys.c.created_at),
        "created_before": BEFORE.on(ssh_keys.c.created_at),
        "modified": SINCE.on(ssh_keys.c.modified_at),
        "modified_before": BEFORE.on(ssh_keys.c.modified_at),
    },
)
_BODY: Final = SshKey.body()


def _parse_key(form: Form) -> PublicKey | None:
    if "public_key" in form.values:
        try:
            return parse(form.values["public_key"])
        except Invalid as refusal:
            form.refuse(refusal)
    return None


def _create(context: RequestContext) -> Response:
    form = read(context, _BODY)
    key = _parse_key(form)
    name_or_none = form.values.get("name")
    with context.write() as tx:
        if key is not None or name_or_none is not None:
            name = name_or_none if key is None else ssh_key_actions.name_of(key, name_or_none)
            if ssh_key_queries.is_name_taken(tx, context.actor.id, str(name)):
                form.refuse(Invalid("key.name_taken", field="name"))
        uuid = ssh_key_actions.create(
            tx, context.actor, form.checked(key), name_or_none, settings=context.settings
        )
        row = ssh_key_queries.get_visible(tx, context.actor, uuid)
        return lists.detail(context, tx, SshKey, row, 201)


ROUTES: Routes = {
    "/api/keys/": {
        "GET": lists.endpoint(LIST, "List your SSH keys and the shared ones."),
        "POST": Endpoint(_create, "Add an SSH key.", body=_BODY, response_type=SshKey, status=201),
    },
    "/api/keys/{uuid}/": {
        "GET": lists.retrieve(SshKey, ssh_key_queries.get_visible, "key", "Show an SSH key."),
        "DELETE": lists.delete(ssh_key_actions.delete, "key", "Delete an SSH key."),
    },
}
