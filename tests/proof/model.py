"""What Collegium is to do, told once more and as short as it goes.

Plain dictionaries; nothing of the service is imported, and time is a number of seconds.
A deed answers ``ok`` or the code of its refusal. Scopes, people and all that is made have names
that the caller chooses.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import Any

DAY = 86_400
LIFETIME = 7 * DAY
TOKEN_LIFETIME = 3_600

_TEAM = {"project.give", "project.regrant", "project.revoke", "project.update"}
_GROUP = {"group.give", "group.regrant", "group.revoke", "group.update", "group.delete"}
RIGHTS: dict[str, set[str]] = {
    "CUSTOMER.OWNER": _TEAM | {"project.create", "list"},
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
    """A deed is not to be done; nothing has happened."""


def _unless(holds: object, code: str) -> None:
    if not holds:
        raise Refused(code)


def _row(**values: Any) -> dict[str, Any]:
    return values


class Roll:
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

    def copy(self) -> Roll:
        """Give another one that can go another way."""
        other = copy(self)
        for name in ("people", "scopes", "invitations", "links", "requests"):
            setattr(other, name, {key: dict(row) for key, row in getattr(self, name).items()})
        for name in ("grants", "tokens", "latest", "ended", "mails"):
            setattr(other, name, copy(getattr(self, name)))
        return other

    def answer(self, deed: str, *given: Any, **more: Any) -> str:
        """Do a deed by its name and tell what came of it."""
        try:
            getattr(self, deed)(*given, **more)
        except Refused as refusal:
            return str(refusal)
        return "ok"

    def by_token(
        self, deed: str, by: str, *given: Any, shown: str | None = None, **more: Any
    ) -> str:
        """Do a deed as whoever shows a token of somebody; the latest, if nothing else is said."""
        used = self.tokens.get(by)
        if used is None or shown not in {None, self.latest.get(by)}:
            return "token.unknown"
        if not self.people[by]["active"]:
            return "token.inactive"
        if used + TOKEN_LIFETIME < self.now:
            return "token.expired"
        if used < self.now - 60:
            self.tokens[by] = self.now
        return self.answer(deed, by, *given, **more)

    # What holds.

    def _parent(self, scope: str) -> str | None:
        parent: str | None = self.scopes[scope]["parent"]
        return parent

    def _around(self, scope: str) -> set[str | None]:
        return {scope, self._parent(scope)}

    def _live(self) -> list[tuple[str, str, str]]:
        return [key for key, until in self.grants.items() if until is None or until > self.now]

    def held(self, who: str, scope: str) -> set[str]:
        """Give the rights somebody has in a scope, from above too."""
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
        return RIGHTS[role] <= held and (not raises or "group.regrant" in held)

    def _may_give(self, who: str, scope: str, role: str) -> None:
        _unless(self._may(who, scope, "give"), "permission.missing")
        _unless(self._staff(who) or self._under_ceiling(who, scope, role), "role.above_ceiling")

    def sees(self, who: str, scope: str) -> bool:
        """Tell whether somebody sees a scope."""
        below = {at for at, row in self.scopes.items() if row["parent"] == scope}
        near = self._around(scope) | below
        return self._sees_all(who) or any(one == who and at in near for one, _, at in self._live())

    def _is_open(self, scope: str) -> bool:
        parent = self._parent(scope)
        return not self.scopes[scope if parent is None else parent]["blocked"]

    def state(self, name: str) -> str:
        """Give the state of an invitation as of now."""
        row = self.invitations[name]
        over = row["state"] == "pending" and row["expires"] <= self.now
        return "expired" if over else str(row["state"])

    def sees_invitation(self, who: str, name: str) -> bool:
        """Tell whether somebody may read an invitation."""
        row = self.invitations[name]
        group = self.scopes[row["scope"]]["kind"] == "group"
        mine = row["email"] == who and (group or self.state(name) in {"pending", "held"})
        reads = "list" in self.held(who, row["scope"])
        gives = self._may(who, row["scope"], "give")
        return self._sees_all(who) or mine or reads or gives

    def sees_request(self, who: str, name: str) -> bool:
        """Tell whether somebody may read a request."""
        row = self.requests[name]
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

    # What time does.

    def tick(self) -> None:
        """Tell what time has brought about."""
        self.grants = {key: self.grants[key] for key in self._live()}
        for row in self.invitations.values():
            pending = row["state"] == "pending" and not row["told"]
            left = row["expires"] - self.now
            if pending and left <= 0:
                row["told"] = True
                self._mail_person("invitation_expired", row["by"])
            elif (
                pending and left <= DAY and not row["reminded"] and row["created"] + DAY <= self.now
            ):
                row["reminded"] = True
                if self._is_open(row["scope"]) and self._vouched(row):
                    self._mail("invitation_created", row["email"])
        for row in self.invitations.values():
            starts = self.scopes[row["scope"]]["starts"]
            if row["state"] == "held" and starts <= self.now // DAY and self._is_open(row["scope"]):
                self._begin(row, "pending")

    # Invitations.

    def _opening(self, by: str, scope: str, *, approved: bool) -> str:
        if self.staff_decide and not self._staff(by) and not approved:
            return "requested"
        starts = self.scopes[scope]["starts"]
        return "held" if starts is not None and starts > self.now // DAY else "pending"

    def _begin(self, row: dict[str, Any], state: str) -> None:
        row.update(state=state, created=self.now, expires=self.now + LIFETIME)
        self._announce(row)

    def _announce(self, row: dict[str, Any]) -> None:
        if row["state"] == "pending":
            self._mail("invitation_created", row["email"])
        if row["state"] == "requested":
            for one in self._all_staff():
                self._mail("invitation_requested", one)

    def invite(self, by: str, name: str, email: str, role: str, scope: str) -> None:
        """Invite an address to a role."""
        kind = self.scopes[scope]["kind"]
        _unless(self.sees(by, scope), f"{kind}.unknown")
        self._may_give(by, scope, role)
        _unless(self._is_open(scope), "organisation.unavailable")
        row = self.invitations[name] = _row(email=email, role=role, scope=scope, by=by, voucher=by)
        row.update(approved=False, generation=1, told=False, reminded=False)
        self._begin(row, self._opening(by, scope, approved=False))

    def accept(self, by: str, name: str) -> None:
        """Take the role of an invitation."""
        row = self.invitations[name]
        scope, role = row["scope"], row["role"]
        if self.scopes[scope]["kind"] == "group":
            _unless(self.sees_invitation(by, name), "invitation.unknown")
            _unless(row["email"] == by, "invitation.not_yours")
            if row["state"] == "accepted":
                return
            _unless(self.state(name) == "pending", "invitation.wrong_state")
            _unless(self._vouched(row), "invitation.not_vouched")
            _unless(self._role_in(by, scope) is None, "grant.exists")
        else:
            is_open = self.state(name) == "pending" and self._is_open(scope)
            held = self.held(by, scope)
            give = f"{self.scopes[scope]['kind']}.give"
            reads = self.people[by]["support"] or held & {"list", give}
            gives = give in held and self._under_ceiling(by, scope, role)
            by_address = reads and not gives and not self._staff(by)
            _unless(is_open and not (by_address and row["email"] != by), "invitation.unknown")
            _unless(self._vouched(row), "invitation.unknown")
            _unless(self.grants.get((by, role, scope), 0) is not None, "grant.exists")
        self.grants[by, role, scope] = None
        row["state"] = "accepted"
        if row["by"] != by:
            self._mail_person("invitation_accepted", row["by"])
        for other in self.invitations.values():
            same = other["scope"] == scope and other["role"] == role
            if (
                same
                and other["email"] in {row["email"], by}
                and other["state"] in {"pending", "held"}
            ):
                other["state"] = "canceled"
        self._joined(by, scope)

    def _joined(self, who: str, scope: str) -> None:
        if self.scopes[scope]["kind"] == "group":
            for row in self.requests.values():
                if (row["who"], row["scope"], row["state"]) == (who, scope, "pending"):
                    row["state"] = "canceled"
            for row in self.invitations.values():
                if (row["email"], row["scope"]) == (who, scope) and row["state"] in WAITING:
                    row["state"] = "canceled"

    def cancel(self, by: str, name: str) -> None:
        """Call an invitation back."""
        row = self.invitations[name]
        _unless(self.sees_invitation(by, name), "invitation.unknown")
        self._may_give(by, row["scope"], row["role"])
        if self.scopes[row["scope"]]["kind"] == "group" and row["state"] == "canceled":
            return
        _unless(self.state(name) in {"pending", "held"}, "invitation.wrong_state")
        row["state"] = "canceled"

    def send(self, by: str, name: str) -> None:
        """Mail an invitation again, or begin it anew."""
        row = self.invitations[name]
        _unless(self.sees_invitation(by, name), "invitation.unknown")
        self._may_give(by, row["scope"], row["role"])
        state = self.state(name)
        _unless(state in {"pending", "canceled", "expired"}, "invitation.wrong_state")
        _unless(self._is_open(row["scope"]), "organisation.unavailable")
        row["voucher"] = by
        if state == "pending":
            self._announce(row)
        else:
            row.update(told=False, reminded=False, generation=row["generation"] + 1)
            self._begin(row, self._opening(by, row["scope"], approved=row["approved"]))

    def decline(self, by: str, name: str) -> None:
        """Say no to an invitation to a group."""
        row = self.invitations[name]
        _unless(self.sees_invitation(by, name), "invitation.unknown")
        _unless(row["email"] == by, "invitation.not_yours")
        if row["state"] != "rejected":
            _unless(self.state(name) == "pending", "invitation.wrong_state")
            row["state"] = "rejected"
            if row["by"] != by:
                self._mail_person("invitation_declined", row["by"])

    def let_out(self, by: str, name: str, *, good: bool) -> None:
        """Decide, as staff and by the link in a mail, whether an invitation goes out."""
        row = self.invitations[name]
        _unless(row["state"] == "requested", "decision.no_invitation")
        if not good:
            row["state"] = "rejected"
            self._mail_person("invitation_rejected", row["by"])
            return
        _unless(self._is_open(row["scope"]), "organisation.unavailable")
        row["approved"] = True
        self._begin(row, self._opening(by, row["scope"], approved=True))

    def offer(self, by: str, name: str, email: str, role: str, scope: str) -> None:
        """Wish somebody to be something in a group: whoever is no member is invited."""
        _unless(self._may(by, scope, "give"), "permission.missing")
        now = self._role_in(email, scope)
        act = "regrant" if now or RIGHTS[role] else "give"
        _unless(self._may(by, scope, act), "permission.missing")
        if now is not None:
            owners = self._owners(scope, besides=email)
            stays = role in OWNERS and self.people[email]["active"]
            _unless(owners or stays or now not in OWNERS or role == now, "group.last_owner")
            if role != now:
                del self.grants[email, now, scope]
                self.grants[email, role, scope] = None
            return
        before = [
            row
            for row in self.invitations.values()
            if (row["email"], row["scope"]) == (email, scope) and row["state"] in WAITING
        ]
        if not before:
            self.invite(by, name, email, role, scope)
            return
        row = before[-1]
        self._may_give(by, scope, row["role"])
        self._may_give(by, scope, role)
        row["voucher"] = by
        over = row["state"] == "pending" and row["expires"] <= self.now
        if row["state"] == "pending" and row["role"] == role and not over:
            return
        if over:
            row.update(created=self.now, told=False, reminded=False)
            row["generation"] += 1
            row["state"] = self._opening(by, scope, approved=row["approved"])
        row.update(role=role, expires=self.now + LIFETIME)
        if row["state"] == "pending":
            self._announce(row)

    # Open invitations and requests.

    def open(self, by: str, name: str, role: str, scope: str, *, auto: bool, many: bool) -> None:
        """Open a scope to whoever has the link."""
        _unless(self.sees(by, scope), f"{self.scopes[scope]['kind']}.unknown")
        self._may_give(by, scope, role)
        _unless(self._is_open(scope), "organisation.unavailable")
        link = _row(by=by, role=role, scope=scope, auto=auto, many=many)
        self.links[name] = link | {"closed": False, "expires": self.now + LIFETIME}

    def _is_active(self, link: dict[str, Any]) -> bool:
        return not link["closed"] and link["expires"] > self.now

    def close(self, by: str, name: str) -> None:
        """Close an open invitation."""
        link = self.links[name]
        _unless(self._may(by, link["scope"], "give"), "permission.missing")
        _unless(self._is_active(link), "open_invitation.closed")
        link["closed"] = True

    def ask(self, by: str, name: str, through: str) -> None:
        """Ask to be let in by a link, or (groups) at the scope itself."""
        link = self.links.get(through)
        role = link["role"] if link else "GROUP.MEMBER"
        scope = link["scope"] if link else through
        earlier = {
            row["state"]
            for row in self.requests.values()
            if (row["who"], row["through"]) == (by, through)
        }
        if link is None:
            _unless(self._role_in(by, scope) is None, "grant.held")
            if "pending" in earlier:
                return
        else:
            _unless(self._is_active(link), "open_invitation.inactive")
            _unless(self._is_open(scope), "organisation.unavailable")
            if not link["many"]:
                until = self.grants.get((by, role, scope), 0)
                lives = until is None or until > self.now
                holds = lives and (until is None or "approved" in earlier)
                approved = "approved" in earlier and holds
                _unless("pending" not in earlier and not approved, "request.exists")
                _unless(not holds, "grant.held")
        row = _row(who=by, role=role, scope=scope, through=through, state="pending")
        self.requests[name] = row
        if link and link["auto"] and self._vouched({**link, "voucher": link["by"]}):
            self._let_in(row)
            return
        deciders = [
            one
            for one, person in self.people.items()
            if person["active"] and one != by and RIGHTS[role] <= self.held(one, scope)
            if f"{self.scopes[scope]['kind']}.give" in self.held(one, scope)
        ]
        for one in deciders or self._all_staff():
            self._mail("permission_request_submitted", one)

    def _let_in(self, row: dict[str, Any]) -> None:
        _unless(self.people[row["who"]]["active"], "account.inactive")
        row["state"] = "approved"
        key = row["who"], row["role"], row["scope"]
        if self.grants.get(key, 0) is not None:
            self.grants[key] = None
            self._joined(row["who"], row["scope"])
            self._mail_person("structure_role_granted", row["who"])

    def decide(self, by: str, name: str, *, good: bool) -> None:
        """Let somebody in who asked, or turn them down."""
        row = self.requests[name]
        scope = row["scope"]
        wanted = "approved" if good else "rejected"
        group = self.scopes[scope]["kind"] == "group"
        waits = row["state"] == "pending"
        _unless(self.sees_request(by, name), "request.unknown")
        _unless(group or waits, "request.wrong_state")
        self._may_give(by, scope, row["role"])
        parent = self._parent(scope)
        above = parent is not None and "project.give" in self.held(by, parent)
        _unless(row["who"] != by or self._staff(by) or above, "request.own")
        _unless(waits or row["state"] == wanted, "request.wrong_state")
        if waits and good:
            _unless(self._is_open(scope), "organisation.unavailable")
            self._let_in(row)
        elif waits:
            row["state"] = wanted
            self._mail_person("permission_request_rejected", row["who"])

    def withdraw(self, by: str, name: str) -> None:
        """Take a request back."""
        row = self.requests[name]
        group = self.scopes[row["scope"]]["kind"] == "group"
        _unless(self.sees_request(by, name), "request.unknown")
        _unless(row["who"] == by or (self._staff(by) and not group), "request.not_own")
        _unless(
            row["state"] == "pending" or (group and row["state"] == "canceled"),
            "request.wrong_state",
        )
        row["state"] = "canceled"

    # Grants.

    def _role_in(self, who: str, scope: str) -> str | None:
        return next((role for one, role, at in self._live() if (one, at) == (who, scope)), None)

    def _owners(self, scope: str, besides: str) -> list[str]:
        """Give those who own a scope for good, but for one."""
        return [
            one
            for (one, role, at), until in self.grants.items()
            if (at, until) == (scope, None) and role in OWNERS
            if one != besides and self.people[one]["active"]
        ]

    def _judge(self, by: str, act: str, who: str, role: str, scope: str) -> None:
        kind, parent = self.scopes[scope]["kind"], self._parent(scope)
        _unless(self.sees(by, scope), f"{kind}.unknown")
        _unless(self._may(by, scope, act), "permission.missing")
        _unless(self._is_open(scope), "organisation.unavailable")
        above = parent is not None and f"{kind}.{act}" in self.held(by, parent)
        _unless(self._staff(by) or above or who != by, "membership.own_role")
        _unless(self._staff(by) or self._under_ceiling(by, scope, role), "role.above_ceiling")

    def seat(self, by: str, who: str, role: str, scope: str, days: int | None) -> None:
        """Give somebody a role, for some days or for good."""
        self._judge(by, "give", who, role, scope)
        _unless((who, role, scope) not in self._live(), "grant.exists")
        self.grants[who, role, scope] = None if days is None else self.now + days * DAY

    def regrant(self, by: str, who: str, role: str, scope: str, days: int | None) -> None:
        """Set another end of somebody's role."""
        self._judge(by, "regrant", who, role, scope)
        _unless((who, role, scope) in self._live(), "grant.unknown")
        if days is not None:
            self._keep_an_owner(who, role, scope)
        self.grants[who, role, scope] = None if days is None else self.now + days * DAY

    def unseat(self, by: str, who: str, role: str, scope: str) -> None:
        """Take a role away."""
        self._judge(by, "revoke", who, role, scope)
        if (who, role, scope) in self._live():
            self._keep_an_owner(who, role, scope)
            del self.grants[who, role, scope]

    def _keep_an_owner(self, who: str, role: str, scope: str) -> None:
        if role in OWNERS and self.grants[who, role, scope] is None:
            _unless(self._owners(scope, besides=who), "scope.last_owner")

    def leave(self, by: str, scope: str) -> None:
        """Give up one's own place in a group."""
        role = self._role_in(by, scope)
        _unless(role, "group.not_member")
        self._keep_an_owner(by, str(role), scope)
        del self.grants[by, str(role), scope]

    # Staff, and tokens.

    def block(self, by: str, scope: str, *, blocked: bool) -> None:
        """Close an organisation to newcomers, or open it again."""
        _unless(self._staff(by), "permission.missing")
        self.scopes[scope]["blocked"] = blocked

    def switch(self, by: str, who: str, *, active: bool) -> None:
        """Switch somebody off, or on again."""
        _unless(self._staff(by), "permission.missing")
        self.people[who]["active"] = active

    def log_in(self, who: str, given: str | None = None) -> None:
        """Give somebody the token, or a new one when it has run out.

        Args:
            given: what the service gave, where that matters.
        """
        _unless(self.people[who]["active"], "login.failed")
        lives = who in self.tokens and self.tokens[who] + TOKEN_LIFETIME >= self.now
        _unless(not lives or given in {None, self.latest.get(who)}, "token.other")
        self.tokens[who] = self.now
        self.latest[who] = given

    def log_out(self, by: str) -> None:
        """End one's token."""
        self.tokens.pop(by, None)

    def end_token(self, by: str, who: str) -> None:
        """End somebody's token, as staff."""
        _unless(self._staff(by), "permission.missing")
        _unless(who in self.tokens, "token.none")
        del self.tokens[who]

    def look(self, by: str) -> None:
        """Show oneself: nothing but a token is asked for."""
