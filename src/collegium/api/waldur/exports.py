"""Downloads of what an organisation or project has. Waldur has none; the words are ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from collegium.access import queries as access_queries
from collegium.access.rules import ScopeKind
from collegium.api import exports
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, schemas
from collegium.exports.rules import Format, Subject
from collegium.invitations.rules import State
from collegium.security.rate_limits.rules import EXPORT


class _FormatFilter(filters.FilterType):
    """The format of the file."""

    def read(self, texts: Sequence[str]) -> Format:
        """Return the format."""
        return Format(filters.MultipleFilter(tuple(Format), commas=False).read(texts[-1:])[0])

    def schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(Format)}


_FILTERS: Final[Mapping[Subject, Mapping[str, tuple[str, filters.FilterType]]]] = {
    Subject.MEMBERS: {"query": ("search_string", filters.Exact())},
    Subject.INVITATIONS: {
        "email": ("email", filters.Exact()),
        "state": ("state", filters.MultipleFilter(tuple(State))),
    },
    Subject.HISTORY: {
        "created_from": ("created_from", filters.GreaterOrEqual()),
        "created_to": ("created_to", filters.Before()),
    },
}
"""Parameter → filter of the list, and its type."""

_FORMAT: Final = {"format": _FormatFilter()}


def _download(kind: ScopeKind, subject: Subject, context: RequestContext) -> Response:
    types = {name: read for name, (_, read) in _FILTERS[subject].items()}
    with context.read() as tx:
        access = access_queries.get_visible(tx, context.actor, kind, context.uuid(kind))
    values = filters.read(context, {**types, **_FORMAT})
    file_format = values.pop("format", Format.CSV)
    named = {_FILTERS[subject][name][0]: value for name, value in values.items()}
    return exports.respond(context, access, subject, file_format, named)


def _routes(kind: ScopeKind, subject: Subject, what: str) -> Routes:
    parameters: dict[str, Any] = {name: read for name, (_, read) in _FILTERS[subject].items()}
    return {
        f"/api/{schemas.KINDS[kind]}s/{{uuid}}/export/{subject}/": {
            "GET": Endpoint(
                partial(_download, kind, subject),
                f"Download the {what} as CSV or JSON.",
                filters={**parameters, **_FORMAT},
                mutates=True,
                limits=(EXPORT,),
            )
        }
    }


ROUTES: Routes = {
    path: table
    for kind in (ScopeKind.ORGANISATION, ScopeKind.PROJECT)
    for subject, what in (
        (Subject.MEMBERS, "members"),
        (Subject.INVITATIONS, "invitations"),
        (Subject.HISTORY, "audit log"),
    )
    for path, table in _routes(kind, subject, what).items()
}
