"""``/api/keys/``: SSH keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, Name, Text, read
from collegium.refusals import Invalid
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, PublicKey, parse

if TYPE_CHECKING:
    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row

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


def _shown(call: Call, row: Row) -> SshKey:
    return SshKey(
        url=f"{call.base}/api/keys/{row.uuid}/",
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
    "is_shared": filters.Truth(),
    "uuid": filters.Uuid(),
    "user_uuid": filters.Uuid(),
    "created": filters.Since(),
    "modified": filters.Since(),
}


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        ssh_key_queries.listing,
        lambda rows: [_shown(call, row) for row in rows],
        filters=filters.read(call, _FILTERS, ssh_key_queries.listing.orders),
        sparse=True,
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = ssh_key_queries.reach(tx, call.actor, call.uuid("key"))
    return Answer(200, schemas.encode(lists.fields(call, _shown(call, row))))


def _public_key(form: Form) -> PublicKey | None:
    if "public_key" in form.values:
        try:
            return parse(form.values["public_key"])
        except Invalid as refusal:
            form.refuse(refusal)
    return None


def _create(call: Call) -> Answer:
    form = read(call, _NEW)
    key = _public_key(form)
    given = form.values.get("name")
    with call.write() as tx:
        if key is not None or given is not None:
            name = given if key is None else ssh_key_actions.name_of(key, given)
            if ssh_key_queries.is_taken(tx, call.actor.id, str(name)):
                form.refuse(Invalid("key.name_taken", field="name"))
        uuid = ssh_key_actions.create(
            tx, call.actor, form.checked(key), given, settings=call.settings
        )
        return Answer(
            201, schemas.encode(_shown(call, ssh_key_queries.reach(tx, call.actor, uuid)))
        )


def _delete(call: Call) -> Answer:
    with call.write() as tx:
        ssh_key_actions.delete(tx, call.actor, call.uuid("key"))
    return Answer(204)


ROUTES: Routes = {
    "/api/keys/": {
        "GET": Operation(
            _list,
            "List your SSH keys and the shared ones.",
            answers=SshKey,
            many=True,
            filters=_FILTERS,
            orders=ssh_key_queries.listing.orders,
            sparse=True,
        ),
        "POST": Operation(_create, "Add an SSH key.", form=_NEW, answers=SshKey, status=201),
    },
    "/api/keys/{uuid}/": {
        "GET": Operation(_retrieve, "Show an SSH key.", answers=SshKey, sparse=True),
        "DELETE": Operation(_delete, "Delete an SSH key.", status=204),
    },
}
