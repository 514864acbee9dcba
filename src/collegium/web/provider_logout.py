"""The end of a session that an identity provider announces (back-channel logout)."""

from __future__ import annotations

from collegium.api.request import Endpoint, Response, Routes, json_response
from collegium.integrations import provider_setup
from collegium.integrations.openid import client, discovery
from collegium.refusals import Refusal
from collegium.security.rate_limits.rules import PROVIDER
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities import sign_ins
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.values import ProviderError
from collegium.values import Text
from collegium.web import provider_sign_in
from collegium.web.browser_request import BrowserRequest


def _log_out_back_channel(browser: BrowserRequest) -> Response:
    """End what came of a session at a provider (OpenID Connect Back-Channel Logout 1.0)."""
    name = browser.segments["provider"]
    vault = browser.app.vault
    browser.check_limits(PROVIDER)
    try:
        provider = provider_sign_in.active_provider(browser, name)
        token = browser.form.raw("logout_token")
        party = provider_setup.client_of(browser.settings, vault, provider)
        logout = client.read_logout_token(party, discovery.metadata_of(party), token, browser.now)
        with browser.write() as tx:
            identity_sessions.end_sessions_of_provider(
                tx,
                vault,
                provider,
                logout.jti,
                logout.subject or None,
                logout.sid or None,
                logout.expires_at,
            )
    except (Refusal, ProviderError) as problem:
        code = problem.code if isinstance(problem, Refusal) else problem.problem.value
        with browser.read() as tx:
            is_known = provider_queries.by_name(tx, name) is not None
        if is_known:
            with browser.write() as tx:
                browser.count_attempts(tx, PROVIDER)
                sign_ins.record_refused(tx, name, f"logout.{code}", browser.ip_address)
        return json_response(400, {"error": "invalid_request"})
    return Response(200)


ROUTES: Routes = {
    "/api-auth/{provider}/backchannel-logout/": {
        "POST": Endpoint(
            _log_out_back_channel,
            "End the sessions that a provider has ended.",
            public=True,
            body={"logout_token": Text(required=True)},
            body_type="application/x-www-form-urlencoded",
            other_statuses={
                429: "There were too many wrong tokens.",
                503: "Too many requests wait for the provider.",
            },
        ),
    },
}
