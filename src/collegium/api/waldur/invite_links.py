"""``/api/user-group-invitations/``: open invitations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.access.rules import Kind
from collegium.api import limits
from collegium.api.request import Answer, Operation, Routes
from collegium.api.waldur import filters, join_request_schemas, lists, schemas
from collegium.api.waldur.fields import Boolean, Field, Name, Text, Texts, Uuid, read
from collegium.api.waldur.invitations import done, named_role, named_scope
from collegium.invite_links import actions as invite_link_actions
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links.rules import PATTERN_MAX, PATTERNS_MAX
from collegium.join_requests import actions as join_request_actions
from collegium.refusals import NotFound
from collegium.scopes.organisations import queries as organisation_queries

if TYPE_CHECKING:
    from collegium.api.request import Call
    from collegium.db.database import Read

FIELDS: Final[dict[str, Field]] = {
    "scope": Text(required=True, blank=False, max=2000),
    "role": Uuid(required=True),
    "is_public": Boolean(),
    "auto_create_project": Boolean(),
    "auto_approve": Boolean(),
    "project_name_template": Name(null=True, max=255, to="template"),
    "project_role": Uuid(null=True),
    "user_affiliations": Texts(max=255, many=200, to="affiliations"),
    "user_email_patterns": Texts(max=PATTERN_MAX, many=PATTERNS_MAX, to="email_patterns"),
    "custom_text": Text(max=4000),
    "allow_multiple_requests": Boolean(),
}
FILTERS: Final = {
    **dict.fromkeys(("customer_uuid", "role_uuid"), filters.Uuid()),
    "role_name": filters.Exact(),
    "scope_type": filters.SCOPE_TYPE,
    "scope": filters.SCOPE,
    **dict.fromkeys(("is_active", "is_public"), filters.Truth()),
}


def _list(call: Call, tx: Read) -> Answer:
    return lists.answer(
        call,
        tx,
        invite_link_queries.listing,
        lambda rows: [join_request_schemas.group_invitation(call, row, tx.now) for row in rows],
        filters=filters.read(call, FILTERS, invite_link_queries.listing.orders),
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    row = _found(call, tx)
    return Answer(200, schemas.encode(join_request_schemas.group_invitation(call, row, tx.now)))


def _found(call: Call, tx: Read) -> Any:
    row = invite_link_queries.find(tx, call.actor, call.uuid("open_invitation"))
    if row.scope_kind == Kind.GROUP:
        raise NotFound("open_invitation.unknown")
    return row


def _create(call: Call) -> Answer:
    form = read(call, FIELDS)
    form.drop_blank("template")
    with call.write() as tx:
        reached = named_scope(tx, call, form)
        role = named_role(tx, form)
        project_role = named_role(tx, form, "project_role", Kind.PROJECT)
        if reached is not None and role is not None:
            for problem in invite_link_actions.problems(
                call.actor, reached.scope.kind, role, project_role, form.values
            ):
                form.refuse(problem)
        reached, role = form.checked(reached), form.checked(role)
        uuid = invite_link_actions.create(
            tx, call.actor, call.settings, reached, role, project_role, form.values
        )
        row = invite_link_queries.find(tx, call.actor, uuid)
        return Answer(201, schemas.encode(join_request_schemas.group_invitation(call, row, tx.now)))


def _projects(call: Call, tx: Read) -> Answer:
    """Only those that the caller may see anyway: a link is no key to names."""
    row = _found(call, tx)
    if row.scope_kind != Kind.ORGANISATION:
        return Answer(404, media="text/plain")
    return Answer(
        200,
        schemas.encode(
            [
                join_request_schemas.ProjectLink(one.uuid, f"{call.base}/api/projects/{one.uuid}/")
                for one in organisation_queries.projects_of(tx, call.actor, [row.scope_id])
            ]
        ),
    )


def _cancel(call: Call) -> Answer:
    with call.write() as tx:
        invite_link_actions.cancel(tx, call.actor, _found(call, tx).uuid)
    return done("Invitation has been successfully canceled.")


def _submit(call: Call) -> Answer:
    uuid = call.uuid("open_invitation")
    limits.check(call, limits.ASK)
    with call.write() as tx:
        _found(call, tx)
        asked = join_request_actions.submit(tx, call.actor, call.settings, uuid)
        # Each of them mails people who did not ask for it.
        limits.count(call, tx, limits.ASK)
        shown = join_request_schemas.submitted(asked.request, is_approved=asked.is_approved)
    return Answer(200, schemas.encode(shown))


_ONE: Final = "/api/user-group-invitations/{uuid}/"

ROUTES: Routes = {
    "/api/user-group-invitations/": {
        "GET": Operation(
            _list,
            "List the open invitations that you can see.",
            open=True,
            asks=True,
            answers=join_request_schemas.GroupInvitation,
            many=True,
            filters=FILTERS,
            orders=invite_link_queries.listing.orders,
        ),
        "POST": Operation(
            _create,
            "Open a scope to whoever has the link.",
            form=FIELDS,
            answers=join_request_schemas.GroupInvitation,
            status=201,
        ),
    },
    _ONE: {
        "GET": Operation(
            _retrieve,
            "Show an open invitation.",
            open=True,
            asks=True,
            answers=join_request_schemas.GroupInvitation,
        ),
    },
    f"{_ONE}projects/": {
        "GET": Operation(
            _projects,
            "List the organisation's projects that you can see.",
            answers=join_request_schemas.ProjectLink,
            many=True,
            whole=True,
        ),
    },
    f"{_ONE}cancel/": {
        "POST": Operation(_cancel, "Close an open invitation.", answers=schemas.Detail),
    },
    f"{_ONE}submit_request/": {
        "POST": Operation(_submit, "Ask to be let in.", answers=join_request_schemas.Submitted),
    },
}
