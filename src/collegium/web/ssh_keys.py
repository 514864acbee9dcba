"""My SSH keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys import actions as ssh_key_actions
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import LENGTH_MAX, NAME_MAX, parse
from collegium.text.names import isolated
from collegium.web.forms import Form
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

_HERE: Final = "/account/keys/"


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    return page(
        visit, "keys", status, keys=ssh_key_queries.of_account(tx, visit.actor.id), form=form
    )


def _add(visit: Visit) -> Answer:
    form = visit.form
    text = form.text("public_key", LENGTH_MAX + 500, required=True, lines=True)
    name = form.name("name", NAME_MAX)
    if form.ok:
        try:
            key = parse(text)
            name = ssh_key_actions.name_of(key, name or None)
            if not name:
                form.wrong("name", "Please give it a name: it has none of its own.")
            else:
                done = (_HERE, f"The key “{isolated(name)}” is added.")
                with visit.create() as tx:
                    ssh_key_actions.create(tx, visit.actor, key, name, settings=visit.settings)
                    visit.created(tx, *done)
                return visit.go(*done)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


def _remove(visit: Visit) -> Answer:
    with visit.write() as tx:
        ssh_key_actions.delete(tx, visit.actor, visit.uuid("key"))
    return visit.go(_HERE, "The key is removed.")


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "My SSH keys."),
        "POST": Page(_add, "Add an SSH key.", creates=True),
    },
    "/account/keys/{uuid}/remove/": {"POST": Page(_remove, "Remove an SSH key.")},
}
