"""The staff pages for OpenID providers: list, add, change, check, remove."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from collegium.accounts.rules import PROFILE_FIELDS
from collegium.api.request import Response, Routes
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.db.database import ReadTransaction
from collegium.events import queries as event_queries
from collegium.events.types import ProviderSignInFailed
from collegium.integrations import provider_setup
from collegium.integrations.provider_setup import SENTENCES, Check
from collegium.sign_in.providers import actions as provider_actions
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers import rules as provider_rules
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import to_discovery_url
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.text.names import isolated
from collegium.web import confirmation
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/providers/"
REGISTRATIONS: Final = {
    "invited": mark("People who are invited"),
    "open": mark("Everybody at this provider"),
    "off": mark("Nobody; people need an account first"),
}
_FLAGS: Final = ("is_default", "verify_ssl", "enable_post_logout_redirect", "token_in_url")
_LISTS: Final = {
    "protected_fields": 50,
    "allowed_redirects": provider_rules.URL_MAX,
    "trusted_domains": 253,
    "second_factor_values": 100,
    "vouched_claims": 100,
}
"""Fields with one value on each line, and the longest value in characters."""

_LATELY: Final = timedelta(days=7)
_FAILURES_MAX: Final = 500
"""Number of failed sign-ins at all providers from which reasons are counted."""

_TEXTS: Final = {
    "management_url": provider_rules.URL_MAX,
    "extra_scope": 1000,
    "extra_fields": 1000,
    "user_field": 50,
    "user_claim": 100,
}


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    rows = provider_queries.all_providers(tx)
    return page(browser, "staff_providers", rows=rows, registrations=translated(REGISTRATIONS))


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    del tx
    registration = provider_setup.default_registration(browser.settings)
    return _render_new(browser, Form.showing(registration=registration))


def _render_new(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    return page(
        browser,
        "staff_provider_new",
        status,
        form=form,
        registrations=list(translated(REGISTRATIONS).items()),
        returns=_redirect_uri(browser, "NAME"),
    )


def _redirect_uri(browser: BrowserRequest, name: str) -> str:
    return f"{browser.settings.base_url.rstrip('/')}/api-auth/{name}/complete/"


def _read_connection(form: Form) -> dict[str, Any]:
    """Return the fields of both forms."""
    return {
        "label": form.name("label", provider_rules.LABEL_MAX, required=True),
        "discovery_url": to_discovery_url(
            form.text("discovery_url", provider_rules.URL_MAX, required=True)
        ),
        "client_id": form.text("client_id", 255, required=True),
        "client_secret": form.text("client_secret", 1000),
        "registration": form.choice("registration", *REGISTRATIONS),
    }


def _check_values(form: Form, values: Mapping[str, Any]) -> bool:
    """Add everything that the rules refuse; return whether the form is valid."""
    form.add_refusals(provider_rules.problems(values))
    return form.is_valid


def _create(browser: BrowserRequest) -> Response:
    form = browser.form
    values = {
        "name": form.text("name", provider_rules.NAME_MAX, required=True),
        **_read_connection(form),
    }
    if _check_values(form, values):
        confirmation.require(browser)
        with form.showing_refusals():
            return browser.redirect(*_create_provider(browser, values))
    return _render_new(browser, form, 422)


def _create_provider(browser: BrowserRequest, values: dict[str, Any]) -> tuple[str, str]:
    found = provider_setup.discover(browser.settings, values["discovery_url"], verify_tls=True)
    mapping = provider_rules.suggested_mapping(found.claims_supported)
    values |= {
        "attribute_mapping": mapping,
        "extra_scope": provider_rules.extra_scope(mapping.values(), found.scopes_supported),
    }
    destination = (
        f"{HERE}{values['name']}/",
        _("The provider is added. People see its button on the sign-in page now."),
    )
    with browser.create() as tx:
        metadata = provider_setup.to_columns(found)
        provider_actions.create(tx, browser.actor, browser.app.vault, values, metadata)
        browser.created(tx, *destination)
    return destination


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    row = provider_queries.get_visible(tx, browser.actor, browser.segments["provider"])
    return _render_provider(browser, tx, row, _form_of(row))


def _form_of(row: ProviderRow) -> Form:
    values = {
        name: [getattr(row, name)]
        for name in ("label", "discovery_url", "client_id", "registration", *_TEXTS)
    }
    values |= {name: ["\n".join(getattr(row, name))] for name in _LISTS}
    values |= {name: ["yes"] for name in _FLAGS if getattr(row, name)}
    lines = (f"{field}: {claim}" for field, claim in row.attribute_mapping.items())
    return Form({**values, "attribute_mapping": ["\n".join(lines)]})


def _finding(check: Check) -> str:
    """Return the result of a check in the language of the reader."""
    facts = {name: isolated(str(value)) for name, value in check.facts.items()}
    return _(check.template).format_map(facts)


class Failure(NamedTuple):
    """A reason why sign-ins failed.

    Args:
        finding: what is wrong with the provider, in the language of the reader; empty for others.
    """

    reason: str
    finding: str
    number: int
    last_at: datetime


def _failures(tx: ReadTransaction, name: str) -> list[Failure]:
    """Return why sign-ins at a provider failed lately, the reason of the newest one first."""
    rows = event_queries.newest(tx, ProviderSignInFailed, tx.now - _LATELY, _FAILURES_MAX)
    times: dict[str, list[datetime]] = {}
    for row in rows:
        if row.payload["provider"] == name:
            times.setdefault(row.payload["reason"], []).append(row.created_at)
    sentences = {f"provider.{problem}": _(text) for problem, text in SENTENCES.items()}
    return [
        Failure(reason, sentences.get(reason, ""), len(found), found[0])
        for reason, found in times.items()
    ]


def _render_provider(
    browser: BrowserRequest,
    tx: ReadTransaction,
    row: ProviderRow,
    form: Form,
    status: int = 200,
    checks: list[Check] | None = None,
) -> Response:
    return page(
        browser,
        "staff_provider",
        status,
        row=row,
        form=form,
        checks=[(check, _finding(check)) for check in checks or ()],
        people=provider_queries.count_identities(tx, row.id),
        failures=_failures(tx, row.name),
        registrations=list(translated(REGISTRATIONS).items()),
        user_fields=[
            ("", _("Nothing")),
            *((name, name) for name in sorted(provider_rules.USER_FIELDS)),
        ],
        user_claims=[
            ("", _("Nothing")),
            *((name, name) for name in sorted(provider_rules.USER_CLAIMS)),
        ],
        returns=_redirect_uri(browser, row.name),
        ends=_redirect_uri(browser, row.name).replace("/complete/", "/backchannel-logout/"),
        fields=", ".join(sorted(provider_rules.CLAIMS)),
        protected=", ".join(sorted(PROFILE_FIELDS)),
    )


def _read_changes(form: Form) -> dict[str, Any]:
    changes = {
        **_read_connection(form),
        **{name: form.text(name, length) for name, length in _TEXTS.items()},
        **{
            name: form.lines(name, length, provider_rules.LIST_MAX)
            for name, length in _LISTS.items()
        },
        **{name: form.flag(name) for name in _FLAGS},
    }
    # The stored secret is not shown, so an empty field means that it stays.
    if not changes["client_secret"]:
        del changes["client_secret"]
    pairs = [
        line.partition(":")
        for line in form.lines("attribute_mapping", 1100, provider_rules.LIST_MAX)
    ]
    changes["attribute_mapping"] = {
        field.strip(): " ".join(claims.split()) for field, _, claims in pairs
    }
    return changes


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form, checks = browser.form, None
    action = form.choice("action", "save", "check", "activate", "deactivate", "remove")
    name = browser.segments["provider"]
    with browser.read() as tx:
        row = provider_queries.get_visible(tx, browser.actor, name)
        compared = claim_rule_rules.compared_claims(claim_rule_queries.all_rules(tx))
    changes = _read_changes(form) if action == "save" else {}
    if _check_values(form, changes) and action != "check":
        confirmation.require(browser)
        with form.showing_refusals():
            return _perform_on_provider(browser, row, action, changes)
    if action == "check" and form.is_valid:
        checks = provider_setup.check(browser.settings, browser.app.vault, row, compared)
    shown = form
    if action != "save":
        shown = _form_of(row)
        shown.errors = form.errors
    with browser.read() as tx:
        return _render_provider(browser, tx, row, shown, 200 if checks else 422, checks)


def _perform_on_provider(
    browser: BrowserRequest, row: ProviderRow, action: str, changes: dict[str, Any]
) -> Response:
    vault, actor = browser.app.vault, browser.actor
    if action == "remove":
        with browser.write() as tx:
            provider_actions.remove(tx, actor, row.name)
            message = _("The provider is removed. Nobody can sign in with it any more.")
            return browser.answer(tx, HERE, message)
    metadata = None
    if action == "save":
        metadata = provider_setup.discover_changed(browser.settings, row, changes)
    else:
        changes = {"is_active": action == "activate"}
    with browser.write() as tx:
        provider_actions.update(tx, actor, vault, row.name, changes, metadata)
        message = {
            "save": _("The provider is saved."),
            "activate": _("The provider is active. People see its button on the sign-in page."),
            "deactivate": _("The provider is inactive. Nobody can sign in with it."),
        }[action]
        return browser.answer(tx, browser.path, message)


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_list, "List the providers to sign in with.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that adds a provider."),
            "POST": Page(_create, "Add a provider.", creates=True),
        },
        f"{HERE}{{provider}}/": {
            "GET": Page(_show, "Show a provider."),
            "POST": Page(
                _change, "Change, check, activate, deactivate or remove a provider.", once=True
            ),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
