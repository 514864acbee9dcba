"""The staff pages for claim rules: list, add, change, try, remove."""

from __future__ import annotations

from typing import Any, Final

from collegium.access.rules import ScopeKind
from collegium.accounts import queries as account_queries
from collegium.api.request import Response, Routes
from collegium.claim_rules import actions as claim_rule_actions
from collegium.claim_rules import granting
from collegium.claim_rules import queries as claim_rule_queries
from collegium.claim_rules import rules as claim_rule_rules
from collegium.claim_rules.granting import Preview
from collegium.claim_rules.queries import RuleRow
from collegium.db.database import ReadTransaction
from collegium.roles import queries as role_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.providers import queries as provider_queries
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.values import hex_uuid
from collegium.web import claim_lines, confirmation
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import role_name
from collegium.web.page import Page
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/rules/"
_ROLES: Final = {
    "organisation_role": ScopeKind.ORGANISATION,
    "project_role": ScopeKind.PROJECT,
}
CONDITIONS: Final = {
    "claims": mark("Claims"),
    "affiliations": mark("Affiliations"),
    "identity_sources": mark("Identity sources"),
    "email_patterns": mark("E-mail addresses"),
    "nationalities": mark("Nationalities"),
    "organisation_types": mark("Types of organisation"),
    "assurance_levels": mark("Assurance levels"),
}
OBSTACLES: Final = {
    granting.UNMATCHED: mark("The person does not meet the conditions."),
    granting.PROTECTED: mark("Rules give nothing to staff and support."),
    "account.inactive": mark("The account is deactivated."),
    "organisation.unknown": mark("The organisation was deleted."),
    "organisation.unavailable": mark("The organisation is blocked or archived."),
    "project.unknown": mark("The project was deleted."),
    "role.inactive": mark("The role is disabled."),
    "scope.not_admitted": mark("The organisation or project does not admit this person."),
}


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return page(browser, "staff_rules", rows=claim_rule_queries.all_rules(tx))


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_new(browser, tx, Form())


def _render_new(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    return page(browser, "staff_rule_new", status, form=form, roles=_role_options(tx))


def _role_options(tx: ReadTransaction) -> dict[str, list[tuple[str, str]]]:
    """Return the roles to choose from, by the name of the field."""
    return {
        name: [
            ("", _("None")),
            *(
                (row.uuid, role_name(row.description, row.name))
                for row in role_queries.of_kind(tx, kind)
            ),
        ]
        for name, kind in _ROLES.items()
    }


def _read_values(form: Form, tx: ReadTransaction) -> dict[str, Any]:
    """Return the columns of a rule; what is wrong is added to the form."""
    values: dict[str, Any] = {
        "name": form.name("name", claim_rule_rules.NAME_MAX, required=True),
        "template": form.name("template", claim_rule_rules.TEMPLATE_MAX),
        "creates_project": bool(form.raw("project_role")),
        "revokes": form.flag("revokes"),
        "claims": claim_lines.read(form),
        **{
            name: form.lines(name, length, claim_rule_rules.ITEMS_MAX)
            for name, length in claim_rule_rules.LENGTHS.items()
        },
    }
    organisation = form.text("organisation", 500, required=True)
    found = claim_rule_queries.organisations_named(tx, organisation, hex_uuid(organisation))
    values["organisation_id"] = found[0].id if len(found) == 1 else None
    if len(found) != 1 and organisation and "organisation" not in form.errors:
        several = _("Several organisations have this name. Please enter the UUID.")
        form.add_error("organisation", several if found else _("There is no such organisation."))
    for name, kind in _ROLES.items():
        options = {row.uuid: row.id for row in role_queries.of_kind(tx, kind)}
        uuid = form.choice(name, "", *options)
        values[f"{name}_id"] = options.get(uuid)
    problems = claim_rule_rules.problems(values)
    if not form.errors.keys().isdisjoint(claim_rule_rules.CONDITIONS):
        # There is a condition, but it could not be read.
        problems = [problem for problem in problems if problem.code != "claim_rule.no_condition"]
    form.add_refusals(problems)
    return values


def _create(browser: BrowserRequest) -> Response:
    form = browser.form
    with browser.read() as tx:
        values = _read_values(form, tx)
    if form.is_valid:
        confirmation.require(browser)
        with form.showing_refusals():
            with browser.create() as tx:
                uuid = claim_rule_actions.create(tx, browser.actor, values)
                message = _("The rule is added. It counts at each person's next sign-in.")
                browser.created(tx, f"{HERE}{uuid}/", message)
            return browser.redirect(f"{HERE}{uuid}/", message)
    with browser.read() as tx:
        return _render_new(browser, tx, form, 422)


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    row = claim_rule_queries.get_visible(tx, browser.actor, browser.uuid("claim_rule"))
    username = browser.query_value("person").strip()[:128]
    form, preview = _form_of(row), None
    if username:
        form.values["person"] = [username]
        found = account_queries.by_username(tx, username)
        if found is None:
            form.add_error("person", _("There is no account with this user name."))
        else:
            preview = granting.preview(tx, row, account_queries.existing(tx, found.id))
    return _render_rule(browser, tx, row, form, 200, preview)


def _form_of(row: RuleRow) -> Form:
    form = Form.showing(
        name=row.name,
        organisation=row.organisation_name,
        organisation_role=row.organisation_role_uuid or "",
        project_role=(row.project_role_uuid or "") if row.creates_project else "",
        template=row.template,
        claims=claim_lines.text_of(row.claims),
        **{name: "\n".join(getattr(row, name)) for name in claim_rule_rules.LENGTHS},
    )
    if row.revokes:
        form.values["revokes"] = ["yes"]
    return form


def _render_rule(
    browser: BrowserRequest,
    tx: ReadTransaction,
    row: RuleRow,
    form: Form,
    status: int = 200,
    preview: Preview | None = None,
) -> Response:
    kept = identity_rules.comparable_claims(provider_queries.active(tx))
    return page(
        browser,
        "staff_rule",
        status,
        row=row,
        form=form,
        preview=preview,
        obstacle=translated(OBSTACLES).get(preview.obstacle, "") if preview else "",
        conditions=translated(CONDITIONS),
        people=claim_rule_queries.count_people(tx, row.id),
        missing=claim_rule_rules.missing_claims(row, kept),
        roles=_role_options(tx),
    )


def _change(browser: BrowserRequest) -> Response:
    """Save or remove, as the pressed button says."""
    form, uuid = browser.form, browser.uuid("claim_rule")
    action = form.choice("action", "save", "remove")
    with browser.read() as tx:
        row = claim_rule_queries.get_visible(tx, browser.actor, uuid)
        values = _read_values(form, tx) if action == "save" and form.is_valid else {}
    if form.is_valid:
        confirmation.require(browser)
        with form.showing_refusals(), browser.write() as tx:
            if action == "remove":
                claim_rule_actions.remove(tx, browser.actor, uuid)
                return browser.answer(
                    tx, HERE, _("The rule is removed. The roles that it gave stay.")
                )
            claim_rule_actions.update(tx, browser.actor, uuid, values)
            message = _("The rule is saved. It counts at each person's next sign-in.")
            return browser.answer(tx, browser.path, message)
    with browser.read() as tx:
        return _render_rule(browser, tx, row, form, 422)


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_list, "List the claim rules.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that adds a claim rule."),
            "POST": Page(_create, "Add a claim rule.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_show, "Show a claim rule, and try it with a person."),
            "POST": Page(_change, "Change or remove a claim rule.", once=True),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
