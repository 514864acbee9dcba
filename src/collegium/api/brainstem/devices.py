"""Device sign-in: ``/api/auth/device/`` approves a program in the browser."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from collegium.api.brainstem import bodies, schemas
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.refusals import Invalid
from collegium.security.rate_limits.rules import CODE, DEVICE
from collegium.sign_in.devices import actions as device_actions
from collegium.sign_in.devices import rules as device_rules
from collegium.sign_in.devices.rules import INTERVAL, LIFETIME, State
from collegium.values import Integer, Secret

_BEGIN: Final = {"client_name": bodies.Name(max=150), "token_lifetime": Integer(min=60)}
_POLL: Final = {"device_code": Secret(required=True)}
_PAGE: Final = "/account/authorize/"
_RESPONSES: Final = {
    State.PENDING: {"status": "authorization_pending"},
    State.DENIED: {"error": "access_denied"},
    State.USED: {"error": "already_used"},
    None: {"error": "expired_token"},
}


class DeviceLogin(Struct, frozen=True):
    """The codes of a device sign-in: those to show to a person and that to poll with."""

    session_id: str
    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DevicePoll(Struct, frozen=True, omit_defaults=True):
    """The state of a device sign-in."""

    status: str = ""
    token: str = ""
    error: str = ""


def _begin(context: RequestContext) -> Response:
    body = bodies.read_all(context, _BEGIN)
    name = body.values.get("client_name") or "A program"
    lifetime = body.values.get("token_lifetime")
    try:
        device_rules.check_lifetime(lifetime or 0, context.settings.device_token_lifetime_max)
    except Invalid as refusal:
        body.refuse(refusal)
    body.check()
    with context.write() as tx:
        pending = device_actions.begin(
            tx,
            context.app.vault,
            name,
            ip_address=context.ip_address,
            lifetime=lifetime,
            settings=context.settings,
        )
        context.count_attempts(tx, DEVICE)
    session, page = str(UUID(pending.uuid)), context.base + _PAGE
    return Response(
        200,
        schemas.encode(
            DeviceLogin(
                session_id=session,
                device_code=pending.device_code,
                user_code=pending.user_code,
                verification_uri=page,
                verification_uri_complete=f"{page}?session={session}",
                expires_in=LIFETIME,
                interval=INTERVAL,
            )
        ),
    )


def _poll(context: RequestContext) -> Response:
    code = bodies.read(context, _POLL)["device_code"]
    with context.read() as tx:
        state = device_actions.peek(tx, context.app.vault, code)
    if state is None:
        with context.write() as tx:
            context.count_attempts(tx, CODE)
    content: dict[str, Any]
    if state is State.APPROVED:
        with context.write() as tx:
            token = device_actions.fetch(tx, context.app.vault, code, settings=context.settings)
        content = {"status": "success", "token": token} if token else _RESPONSES[State.USED]
    else:
        content = _RESPONSES[state]
    # The status is always 200: the clients treat any other status as a fatal error.
    return Response(200, schemas.encode(content))


ROUTES: Routes = {
    "/api/auth/device/": {
        "POST": Endpoint(
            _begin,
            "Start a device sign-in, to be approved in a browser.",
            public=True,
            body=_BEGIN,
            response_type=DeviceLogin,
            limits=(DEVICE,),
        )
    },
    "/api/auth/device/token/": {
        "POST": Endpoint(
            _poll,
            "Poll a device sign-in. Returns the token once.",
            public=True,
            body=_POLL,
            response_type=DevicePoll,
            limits=(CODE,),
        )
    },
}
DESCRIBED: Final = ROUTES
