"""What the model knows, and what follows from it: who holds, sees and may do what, where."""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import Any, Self

DAY = 86_400
LIFETIME = 7 * DAY
TOKEN_LIFETIME = 3_600

_TEAM = {"project.give", "project.update_role", "project.revoke", "project.update"}
_GROUP = {"group.give", "group.update_role", "group.revoke", "group.update", "group.delete"}
RIGHTS: dict[str, set[str]] = {
    "CUSTOMER.OWNER": _TEAM | {"project.create", "project.delete", "organisation.delete", "list"},
    "PROJECT.MANAGER": _TEAM,
    "PROJECT.MEMBER": set(),
    "GROUP.LEAD": _GROUP,
    "GROUP.OWNER": _GROUP,
    "GROUP.MANAGER": {"group.give", "group.revoke"},
    "GROUP.MEMBER": set(),
}
OWNERS = {"CUSTOMER.OWNER", "GROUP.LEAD", "GROUP.OWNER"}
KINDS = {"CUSTOMER": "organisation", "PROJECT": "project", "GROUP": "group"}
WAITING = {"pending", "held", "requested"}


class Refused(Exception):  # noqa: N818 - says what is the case
    """An action is not to be done; nothing has happened."""


def unless(holds: object, code: str) -> None:
    if not holds:
        raise Refused(code)


class Standing:
    """Who belongs where, and what is on its way to change that."""

    def __init__(self, *, staff_decide: bool = False) -> None:
        self.now = 0
        self.staff_decide = staff_decide
        self.people: dict[str, dict[str, Any]] = {}
        self.scopes: dict[str, dict[str, Any]] = {}
        self.grants: dict[tuple[str, str, str], int | None] = {}
        self.invitations: dict[str, dict[str, Any]] = {}
        self.links: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, int] = {}
        self.latest: dict[str, str | None] = {}
        self.ended: dict[str | None, float] = {}
        self.mails: Counter[tuple[str, str]] = Counter()

    def copy(self) -> Self:
        """Return a copy that can change independently."""
        other = copy(self)
        for name in ("people", "scopes", "invitations", "links", "requests"):
            setattr(other, name, {key: dict(row) for key, row in getattr(self, name).items()})
        for name in ("grants", "tokens", "latest", "ended", "mails"):
            setattr(other, name, copy(getattr(self, name)))
        return other

    def answer(self, action: str, *given: Any, **more: Any) -> str:
        """Do an action by its name and tell what came of it."""
        try:
            getattr(self, action)(*given, **more)
        except Refused as refusal:
            return str(refusal)
        return "ok"

    def by_token(
        self, action: str, by: str, *given: Any, shown: str | None = None, **more: Any
    ) -> str:
        """Do an action with a token of somebody: the given one, otherwise the latest."""
        used = self.tokens.get(by)
        if used is None or shown not in {None, self.latest.get(by)}:
            return "token.unknown"
        if not self.people[by]["active"]:
            return "token.inactive"
        if used + TOKEN_LIFETIME < self.now:
            return "token.expired"
        if used < self.now - 60:
            self.tokens[by] = self.now
        return self.answer(action, by, *given, **more)

    # What holds.

    def _parent(self, scope: str) -> str | None:
        parent: str | None = self.scopes[scope]["parent"]
        return parent

    def _gone(self, scope: str) -> bool:
        return bool(self.scopes[scope].get("gone"))

    def _around(self, scope: str) -> set[str | None]:
        return {scope, self._parent(scope)}

    def _live(self) -> list[tuple[str, str, str]]:
        return [key for key, until in self.grants.items() if until is None or until > self.now]

    def held(self, who: str, scope: str) -> set[str]:
        """Return the permissions of an account in a scope, inherited ones included."""
        around = self._around(scope)
        found = [RIGHTS[role] for one, role, at in self._live() if one == who and at in around]
        return set().union(*found)

    def _staff(self, who: str) -> bool:
        return bool(self.people[who]["staff"])

    def _sees_all(self, who: str) -> bool:
        return self._staff(who) or bool(self.people[who]["support"])

    def _may(self, who: str, scope: str, act: str) -> bool:
        kind = self.scopes[scope]["kind"]
        return self._staff(who) or f"{kind}.{act}" in self.held(who, scope)

    def _under_ceiling(self, who: str, scope: str, role: str) -> bool:
        held = self.held(who, scope)
        raises = RIGHTS[role] & _GROUP
        return RIGHTS[role] <= held and (not raises or "group.update_role" in held)

    def _may_give(self, who: str, scope: str, role: str) -> None:
        unless(self._may(who, scope, "give"), "permission.missing")
        unless(self._staff(who) or self._under_ceiling(who, scope, role), "role.above_ceiling")

    def sees(self, who: str, scope: str) -> bool:
        """Tell whether somebody sees a scope; what is gone, nobody does."""
        if self._gone(scope):
            return False
        below = {at for at, row in self.scopes.items() if row["parent"] == scope}
        near = self._around(scope) | below
        return self._sees_all(who) or any(one == who and at in near for one, _, at in self._live())

    def _is_open(self, scope: str) -> bool:
        parent = self._parent(scope)
        return not self.scopes[scope if parent is None else parent]["blocked"]

    def state(self, name: str) -> str:
        """Return the state of an invitation as of now."""
        row = self.invitations[name]
        over = row["state"] == "pending" and row["expires"] <= self.now
        return "expired" if over else str(row["state"])

    def sees_invitation(self, who: str, name: str) -> bool:
        """Tell whether somebody may read an invitation."""
        row = self.invitations[name]
        group = self.scopes[row["scope"]]["kind"] == "group"
        if group and self._gone(row["scope"]):
            return False
        mine = row["email"] == who and (group or self.state(name) in {"pending", "held"})
        reads = "list" in self.held(who, row["scope"])
        gives = self._may(who, row["scope"], "give")
        return self._sees_all(who) or mine or reads or gives

    def sees_request(self, who: str, name: str) -> bool:
        """Tell whether somebody may read a request."""
        row = self.requests[name]
        if self.scopes[row["scope"]]["kind"] == "group" and self._gone(row["scope"]):
            return False
        top = self._parent(row["scope"]) or row["scope"]
        colleague = self.scopes[top]["kind"] == "organisation" and any(
            one == who and at == top for one, _, at in self._live()
        )
        decides = self._may(who, row["scope"], "give")
        return self._sees_all(who) or row["who"] == who or decides or colleague

    def _vouched(self, row: dict[str, Any]) -> bool:
        voucher, scope = row["voucher"], row["scope"]
        stands = self._may(voucher, scope, "give") and (
            self._staff(voucher) or self._under_ceiling(voucher, scope, row["role"])
        )
        return bool(self.people[voucher]["active"] and stands)

    def _mail(self, kind: str, to: str) -> None:
        self.mails[kind, to] += 1

    def _mail_person(self, kind: str, to: str) -> None:
        if self.people[to]["active"]:
            self._mail(kind, to)

    def _all_staff(self) -> list[str]:
        return [one for one, row in self.people.items() if row["staff"] and row["active"]]

    def _role_in(self, who: str, scope: str) -> str | None:
        return next((role for one, role, at in self._live() if (one, at) == (who, scope)), None)

    def _owners(self, scope: str, besides: str) -> list[str]:
        """Return the permanent owners of a scope except one."""
        return [
            one
            for (one, role, at), until in self.grants.items()
            if (at, until) == (scope, None) and role in OWNERS
            if one != besides and self.people[one]["active"]
        ]
