"""Endpoints for templates of e-mails, for previews: ``/api/notification-messages-templates/``."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct, structs

import collegium
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.db.database import ReadTransaction
from collegium.outbox import mails
from collegium.refusals import NotFound

_FOLDER: Final = Path(collegium.__file__).with_name("worker") / "templates"
_PATH: Final = "/api/notification-messages-templates/"
_PARTS: Final = {"subject.txt": "subject.txt", "txt": "message.txt", "html": "message.html"}
_KINDS: Final = sorted(
    {
        kind
        for value in vars(mails).values()
        if isinstance(value, type) and isinstance(kind := getattr(value, "kind", None), str)
    }
)

# What a template says without its instructions: the content of its page, with the placeholders.
_CONTENT: Final = re.compile(r"{% block content %}(.*?){% endblock %}", re.DOTALL)
_INSTRUCTION: Final = re.compile(r"{%.*?%}\n?|{#.*?#}\n?", re.DOTALL)

_FILTERS: Final = {
    "is_overridden": filters.BooleanFilter(),
    "name": filters.Exact(),
    "name_exact": filters.Exact(),
    "path": filters.Exact(),
    "path_exact": filters.Exact(),
}

_ORDERS: Final = ("name", "path")


class NotificationTemplate(Struct, frozen=True):
    """A template of an e-mail, with placeholders in double braces."""

    uuid: str
    url: str
    path: str
    name: str
    content: str
    original_content: str
    is_content_overridden: bool


def _readable(path: Path) -> str:
    text = path.read_text("utf-8", "replace")
    content = _CONTENT.search(text)
    return _INSTRUCTION.sub("", content[1] if content else text).strip()


@lru_cache(maxsize=4)
def _templates(folder: Path | None) -> tuple[NotificationTemplate, ...]:
    """Return all templates, without the service's own address in ``url``.

    Args:
        folder: the setting ``TEMPLATES``.
    """
    found = []
    for kind in _KINDS:
        for suffix, part in _PARTS.items():
            # Text and HTML are made from one template.
            name = f"{kind}.body" if suffix in {"txt", "html"} else f"{kind}.{suffix}"
            original = _FOLDER / name
            own = original if folder is None else folder / f"{kind}.{suffix}"
            is_own = own != original and own.is_file()
            path = f"users/{kind}_{part}"
            uuid = uuid5(NAMESPACE_URL, path).hex
            found.append(
                NotificationTemplate(
                    uuid=uuid,
                    url=f"{_PATH}{uuid}/",
                    path=path,
                    name=f"{kind}_{part.partition('.')[0]}",
                    content=_readable(own if is_own else original),
                    original_content=_readable(original),
                    is_content_overridden=is_own,
                )
            )
    return tuple(found)


def _render(context: RequestContext, template: NotificationTemplate) -> NotificationTemplate:
    return structs.replace(template, url=context.base + template.url)


def _list(context: RequestContext, _tx: ReadTransaction) -> Response:
    given = filters.read(context, _FILTERS, _ORDERS)
    found = [
        _render(context, template)
        for template in _templates(context.settings.templates)
        if given.get("name", "").lower() in template.name
        and given.get("path", "").lower() in template.path
        and given.get("name_exact", template.name) == template.name
        and given.get("path_exact", template.path) == template.path
        and given.get("is_overridden", template.is_content_overridden)
        == template.is_content_overridden
    ]
    # Sorting keeps the order of equal ones, so the first name counts most.
    for order in reversed(dict.fromkeys(filters.ordering(context))):
        found.sort(key=attrgetter(order.removeprefix("-")), reverse=order.startswith("-"))
    return lists.respond_slice(context, len(found), lambda size, skip: found[skip : skip + size])


def _retrieve(context: RequestContext, _tx: ReadTransaction) -> Response:
    uuid = context.uuid("mail_template")
    for template in _templates(context.settings.templates):
        if template.uuid == uuid:
            return Response(200, schemas.encode(_render(context, template)))
    raise NotFound("mail_template.unknown")


ROUTES: Routes = {
    _PATH: {
        "GET": Endpoint(
            _list,
            "List the templates of e-mails.",
            response_type=NotificationTemplate,
            is_list=True,
            filters=_FILTERS,
            orders=_ORDERS,
        ),
    },
    f"{_PATH}{{uuid}}/": {
        "GET": Endpoint(
            _retrieve, "Show a template of an e-mail.", response_type=NotificationTemplate
        ),
    },
}
