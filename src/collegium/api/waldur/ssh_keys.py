"""Endpoints for SSH keys: ``/api/keys/``."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.refusals import Invalid
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, PublicKey, parse
from collegium.values import Name, Text

_NEW: Final = {
    "public_key": Text(required=True, blank=False, max=LENGTH_MAX),
    "name": Name(max=NAME_MAX),
}


class SshKey(Struct, frozen=True):
    """An SSH key."""

    url: str
    uuid: str
    name: str
    public_key: str
    fingerprint_md5: str
    fingerprint_sha256: str
    fingerprint_sha512: str
    user_uuid: str
    is_shared: bool
    type: str


def _render_key(context: RequestContext, row: Row) -> SshKey:
    return SshKey(
        url=f"{context.base}/api/keys/{row.uuid}/",
        uuid=row.uuid,
        name=row.name,
        public_key=row.public_key,
        fingerprint_md5=row.fingerprint_md5,
        fingerprint_sha256=row.fingerprint_sha256,
        fingerprint_sha512=row.fingerprint_sha512,
        user_uuid=row.account_uuid,
        is_shared=row.is_shared,
        type=row.kind,
    )


_FILTERS: Final = {
    "name": filters.Contains(),
    "name_exact": filters.Exact(),
    "fingerprint_md5": filters.Exact(),
    "fingerprint_sha256": filters.Exact(),
    "fingerprint_sha512": filters.Exact(),
    "is_shared": filters.BooleanFilter(),
    "uuid": filters.Uuid(),
    "user_uuid": filters.Uuid(),
    "created": filters.GreaterOrEqual(),
    "modified": filters.GreaterOrEqual(),
}


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        ssh_key_queries.listing,
        lambda rows: [_render_key(context, row) for row in rows],
        filters=filters.read(context, _FILTERS, ssh_key_queries.listing.orders),
        sparse=True,
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = ssh_key_queries.get_visible(tx, context.actor, context.uuid("key"))
    return Response(200, schemas.encode(lists.fields(context, _render_key(context, row))))


def _parse_key(form: Form) -> PublicKey | None:
    if "public_key" in form.values:
        try:
            return parse(form.values["public_key"])
        except Invalid as refusal:
            form.refuse(refusal)
    return None


def _create(context: RequestContext) -> Response:
    form = read(context, _NEW)
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
        return Response(
            201,
            schemas.encode(
                _render_key(context, ssh_key_queries.get_visible(tx, context.actor, uuid))
            ),
        )


def _delete(context: RequestContext) -> Response:
    with context.write() as tx:
        ssh_key_actions.delete(tx, context.actor, context.uuid("key"))
    return Response(204)


ROUTES: Routes = {
    "/api/keys/": {
        "GET": Endpoint(
            _list,
            "List your SSH keys and the shared ones.",
            response_type=SshKey,
            is_list=True,
            filters=_FILTERS,
            orders=ssh_key_queries.listing.orders,
            sparse_fields=True,
        ),
        "POST": Endpoint(_create, "Add an SSH key.", body=_NEW, response_type=SshKey, status=201),
    },
    "/api/keys/{uuid}/": {
        "GET": Endpoint(_retrieve, "Show an SSH key.", response_type=SshKey, sparse_fields=True),
        "DELETE": Endpoint(_delete, "Delete an SSH key.", status=204),
    },
}
