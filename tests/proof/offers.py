"""What is offered and asked in the model: invitations, open invitations, requests."""

from __future__ import annotations

from typing import Any

from tests.proof.standing import DAY, LIFETIME, OWNERS, RIGHTS, WAITING, Standing, unless


def _row(**values: Any) -> dict[str, Any]:
    return values


class Offers(Standing):
    """What leads somebody into a scope, and what time does to it."""

    def tick(self) -> None:
        """Tell what time has brought about."""
        self.grants = {key: self.grants[key] for key in self._live()}
        for row in self.invitations.values():
            pending = row["state"] == "pending" and not row["told"]
            left = row["expires"] - self.now
            if pending and left <= 0:
                row["told"] = True
                self._mail_person("invitation_expired", row["by"])
            elif pending and left <= DAY and not row["reminded"] and self._is_open(row["scope"]):
                row["reminded"] = True
                if self._vouched(row):
                    self._mail("invitation_created", row["email"])
        for row in self.invitations.values():
            starts = self.scopes[row["scope"]]["starts"]
            if row["state"] == "held" and starts <= self.now // DAY and self._is_open(row["scope"]):
                self._begin(row, "pending")

    # Invitations.

    def _initial_state(self, by: str, scope: str, *, approved: bool) -> str:
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
        unless(self.sees(by, scope), f"{kind}.unknown")
        self._may_give(by, scope, role)
        unless(self._is_open(scope), "organisation.unavailable")
        row = self.invitations[name] = _row(email=email, role=role, scope=scope, by=by, voucher=by)
        row.update(approved=False, generation=1, told=False, reminded=False)
        self._begin(row, self._initial_state(by, scope, approved=False))

    def accept(self, by: str, name: str) -> None:
        """Take the role of an invitation."""
        row = self.invitations[name]
        scope, role = row["scope"], row["role"]
        if self.scopes[scope]["kind"] == "group":
            unless(self.sees_invitation(by, name), "invitation.unknown")
            unless(row["email"] == by, "invitation.not_yours")
            if row["state"] == "accepted":
                return
            unless(self.state(name) == "pending", "invitation.wrong_state")
            unless(self._vouched(row), "invitation.not_vouched")
            unless(self._role_in(by, scope) is None, "grant.exists")
        else:
            is_open = self.state(name) == "pending" and self._is_open(scope)
            held = self.held(by, scope)
            give = f"{self.scopes[scope]['kind']}.give"
            reads = self.people[by]["support"] or held & {"list", give}
            gives = give in held and self._under_ceiling(by, scope, role)
            by_address = reads and not gives and not self._staff(by)
            # The id of a renewed invitation stands in dead links too.
            by_address = by_address or row["generation"] > 1
            unless(is_open and not (by_address and row["email"] != by), "invitation.unknown")
            unless(self._vouched(row), "invitation.unknown")
            unless(self.grants.get((by, role, scope), 0) is not None, "grant.exists")
        unless(self.people[by]["active"], "account.inactive")
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
        self._settle(by, role, scope, told=True)
        self._joined(by, scope)

    def _settle(self, who: str, role: str, scope: str, *, told: bool = False) -> None:
        """Approve what somebody has asked for and now has."""
        for row in self.requests.values():
            asked = RIGHTS[row["role"]]
            fulfils = (
                self.scopes[scope]["kind"] == "group" or row["role"] == role or asked < RIGHTS[role]
            )
            if (row["who"], row["scope"], row["state"]) == (who, scope, "pending") and fulfils:
                row["state"] = "approved"
                if not told:
                    self._mail_person("structure_role_granted", who)
                told = True

    def _joined(self, who: str, scope: str) -> None:
        if self.scopes[scope]["kind"] == "group":
            for row in self.invitations.values():
                if (row["email"], row["scope"]) == (who, scope) and row["state"] in WAITING:
                    row["state"] = "canceled"

    def _manages(self, who: str, scope: str, name: str) -> bool:
        return self.sees_invitation(who, name) and not self._gone(scope)

    def cancel(self, by: str, name: str) -> None:
        """Call an invitation back."""
        row = self.invitations[name]
        unless(self._manages(by, row["scope"], name), "invitation.unknown")
        self._may_give(by, row["scope"], row["role"])
        if self.scopes[row["scope"]]["kind"] == "group" and row["state"] == "canceled":
            return
        unless(self.state(name) in {"pending", "held"}, "invitation.wrong_state")
        row["state"] = "canceled"

    def send(self, by: str, name: str) -> None:
        """Mail an invitation again, or start it again."""
        row = self.invitations[name]
        unless(self._manages(by, row["scope"], name), "invitation.unknown")
        self._may_give(by, row["scope"], row["role"])
        state = self.state(name)
        unless(state in {"pending", "canceled", "expired"}, "invitation.wrong_state")
        unless(not row.get("erased"), "invitation.no_address")
        unless(self._is_open(row["scope"]), "organisation.unavailable")
        row["voucher"] = by
        if state == "pending":
            self._announce(row)
        else:
            row.update(told=False, reminded=False, generation=row["generation"] + 1)
            self._begin(row, self._initial_state(by, row["scope"], approved=row["approved"]))

    def decline(self, by: str, name: str) -> None:
        """Say no to an invitation to a group."""
        row = self.invitations[name]
        unless(self.sees_invitation(by, name), "invitation.unknown")
        unless(row["email"] == by, "invitation.not_yours")
        if row["state"] != "rejected":
            unless(self.state(name) == "pending", "invitation.wrong_state")
            row["state"] = "rejected"
            if row["by"] != by:
                self._mail_person("invitation_declined", row["by"])

    def let_out(self, by: str, name: str, *, good: bool) -> None:
        """Decide, as staff and by the link in a mail, whether an invitation goes out."""
        row = self.invitations[name]
        unless(row["state"] == "requested", "decision.no_invitation")
        if not good:
            row["state"] = "rejected"
            self._mail_person("invitation_rejected", row["by"])
            return
        unless(self._is_open(row["scope"]), "organisation.unavailable")
        row["approved"] = True
        self._begin(row, self._initial_state(by, row["scope"], approved=True))

    def offer(self, by: str, name: str, email: str, role: str, scope: str) -> None:
        """Set the role of an account in a group; invite it if it is no member."""
        unless(not self._gone(scope), "group.unknown")
        unless(self._may(by, scope, "give"), "permission.missing")
        now = self._role_in(email, scope)
        act = "update_role" if now or RIGHTS[role] else "give"
        unless(self._may(by, scope, act), "permission.missing")
        if now is not None:
            owners = self._owners(scope, besides=email)
            stays = role in OWNERS and self.people[email]["active"]
            unless(owners or stays or now not in OWNERS or role == now, "group.last_owner")
            if role != now:
                del self.grants[email, now, scope]
                self.grants[email, role, scope] = None
                self._settle(email, role, scope)
            return
        unless(self.people[email]["active"], "account.inactive")
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
        # Staff agreed to one role, and are asked again about another.
        row["approved"] &= row["role"] == role
        waited, is_renewed = row["state"] == "requested", over or row["role"] != role
        state = self._initial_state(by, scope, approved=row["approved"])
        row["approved"] |= waited and self._staff(by)
        row["generation"] += is_renewed
        row.update(role=role, expires=self.now + LIFETIME)
        if is_renewed or state != row["state"]:
            row.update(created=self.now, told=False, reminded=False)
        row["state"] = state
        if is_renewed or state == "pending" or not waited:
            self._announce(row)

    # Open invitations and requests.

    def open(self, by: str, name: str, role: str, scope: str, *, auto: bool, many: bool) -> None:
        """Create an invite link of a scope."""
        unless(self.sees(by, scope), f"{self.scopes[scope]['kind']}.unknown")
        self._may_give(by, scope, role)
        unless(self._is_open(scope), "organisation.unavailable")
        link = _row(by=by, role=role, scope=scope, auto=auto, many=many)
        self.links[name] = link | {"closed": False, "expires": self.now + LIFETIME}

    def _is_active(self, link: dict[str, Any]) -> bool:
        return not link["closed"] and link["expires"] > self.now

    def close(self, by: str, name: str) -> None:
        """Close an open invitation."""
        link = self.links[name]
        unless(not self._gone(link["scope"]), "invite_link.unknown")
        unless(self._may(by, link["scope"], "give"), "permission.missing")
        unless(self._is_active(link), "invite_link.closed")
        link["closed"] = True

    def ask(self, by: str, name: str, through: str) -> None:
        """Ask to be let in by a link, or (groups) at the scope itself."""
        link = self.links.get(through)
        role = link["role"] if link else "GROUP.MEMBER"
        scope = link["scope"] if link else through
        unless(not self._gone(scope), "invite_link.unknown" if link else "group.unknown")
        earlier = {
            row["state"]
            for row in self.requests.values()
            if (row["who"], row["through"]) == (by, through)
        }
        if link is None:
            unless(self._role_in(by, scope) is None, "grant.held")
            if "pending" in earlier:
                return
        else:
            unless(self._is_active(link), "invite_link.inactive")
            unless(self._is_open(scope), "organisation.unavailable")
            if not link["many"]:
                until = self.grants.get((by, role, scope), 0)
                lives = until is None or until > self.now
                holds = lives and (until is None or "approved" in earlier)
                approved = "approved" in earlier and holds
                unless("pending" not in earlier and not approved, "request.exists")
                unless(not holds, "grant.held")
        unless(self.people[by]["active"], "account.inactive")
        row = _row(who=by, role=role, scope=scope, through=through, state="pending")
        self.requests[name] = row
        sponsored = link and link["auto"] and self._vouched({**link, "voucher": link["by"]})
        if sponsored and not self._can_only_read(by, scope, role):
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

    def _can_only_read(self, who: str, scope: str, role: str) -> bool:
        held, give = self.held(who, scope), f"{self.scopes[scope]['kind']}.give"
        gives = self._staff(who) or (give in held and self._under_ceiling(who, scope, role))
        return bool(self.people[who]["support"] or {"list", give} & held) and not gives

    def _let_in(self, row: dict[str, Any]) -> None:
        unless(self.people[row["who"]]["active"], "account.inactive")
        row["state"] = "approved"
        key = row["who"], row["role"], row["scope"]
        if self.grants.get(key, 0) is not None:
            self.grants[key] = None
            self._settle(row["who"], row["role"], row["scope"], told=True)
            self._joined(row["who"], row["scope"])
            self._mail_person("structure_role_granted", row["who"])

    def decide(self, by: str, name: str, *, good: bool) -> None:
        """Let somebody in who asked, or turn them down."""
        row = self.requests[name]
        scope = row["scope"]
        wanted = "approved" if good else "rejected"
        group = self.scopes[scope]["kind"] == "group"
        waits = row["state"] == "pending"
        unless(self.sees_request(by, name), "request.unknown")
        unless(group or waits, "request.wrong_state")
        self._may_give(by, scope, row["role"])
        parent = self._parent(scope)
        above = parent is not None and "project.give" in self.held(by, parent)
        unless(row["who"] != by or self._staff(by) or above, "request.own")
        unless(waits or row["state"] == wanted, "request.wrong_state")
        if waits and good:
            unless(self._is_open(scope), "organisation.unavailable")
            self._let_in(row)
        elif waits:
            row["state"] = wanted
            self._mail_person("permission_request_rejected", row["who"])

    def withdraw(self, by: str, name: str) -> None:
        """Take a request back."""
        row = self.requests[name]
        group = self.scopes[row["scope"]]["kind"] == "group"
        unless(self.sees_request(by, name), "request.unknown")
        unless(row["who"] == by or (self._staff(by) and not group), "request.not_own")
        unless(
            row["state"] == "pending" or (group and row["state"] == "canceled"),
            "request.wrong_state",
        )
        row["state"] = "canceled"
