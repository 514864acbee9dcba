"""My SSH keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.actions import keys as actions
from collegium.dialects.web.forms import Form
from collegium.dialects.web.page import Page, page
from collegium.rules.keys import LENGTH_MAX, NAME_MAX, parse
from collegium.rules.names import isolated
from collegium.rules.refusals import Conflict, Invalid
from collegium.store import keys

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read

_HERE: Final = "/account/keys/"


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    return page(visit, "keys", status, keys=keys.of_account(tx, visit.actor.id), form=form)


def _add(visit: Visit) -> Answer:
    form = visit.form
    text = form.text("public_key", LENGTH_MAX + 500, required=True, lines=True)
    name = form.name("name", NAME_MAX)
    if form.ok:
        try:
            key = parse(text)
            name = actions.name_of(key, name or None)
            if not name:
                form.wrong("name", "Please give it a name: it has none of its own.")
            else:
                done = (_HERE, f"The key “{isolated(name)}” is added.")
                with visit.create() as tx:
                    actions.create(tx, visit.actor, key, name, settings=visit.settings)
                    visit.created(tx, *done)
                return visit.go(*done)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


def _remove(visit: Visit) -> Answer:
    with visit.write() as tx:
        actions.delete(tx, visit.actor, visit.uuid("key"))
    return visit.go(_HERE, "The key is removed.")


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "My SSH keys."),
        "POST": Page(_add, "Add an SSH key.", creates=True),
    },
    "/account/keys/{uuid}/remove/": {"POST": Page(_remove, "Remove an SSH key.")},
}
