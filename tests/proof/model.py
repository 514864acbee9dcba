"""What Collegium is to do, told once more and as short as it goes.

Plain dictionaries; nothing of the service is imported, and time is a number of seconds.
An action answers ``ok`` or the code of its refusal. Scopes, people and all that is made have names
that the caller chooses.
"""

from __future__ import annotations

from tests.proof.offers import Offers
from tests.proof.standing import DAY, OWNERS, TOKEN_LIFETIME, WAITING, unless

__all__ = ("DAY", "Roll")


class Roll(Offers):
    """All of it: what is offered and asked, and what is done to grants, scopes and accounts."""

    # Grants.

    def _judge(self, by: str, act: str, who: str, role: str, scope: str) -> None:
        kind, parent = self.scopes[scope]["kind"], self._parent(scope)
        unless(self.sees(by, scope), f"{kind}.unknown")
        unless(self._may(by, scope, act), "permission.missing")
        unless(self.people[who]["active"], "account.inactive")
        unless(act == "revoke" or self._is_open(scope), "organisation.unavailable")
        above = parent is not None and f"{kind}.{act}" in self.held(by, parent)
        unless(self._staff(by) or above or who != by, "membership.own_role")
        unless(self._staff(by) or self._under_ceiling(by, scope, role), "role.above_ceiling")

    def give_role(self, by: str, who: str, role: str, scope: str, days: int | None) -> None:
        """Assign a role, for some days or permanently."""
        self._judge(by, "give", who, role, scope)
        unless((who, role, scope) not in self._live(), "grant.exists")
        self.grants[who, role, scope] = None if days is None else self.now + days * DAY
        self._settle(who, role, scope, told=who == by)

    def update_role(self, by: str, who: str, role: str, scope: str, days: int | None) -> None:
        """Set another end of somebody's role."""
        self._judge(by, "update_role", who, role, scope)
        unless((who, role, scope) in self._live(), "grant.unknown")
        if days is not None:
            self._ensure_owner_remains(who, role, scope)
        had_end = self.grants[who, role, scope] is not None
        self.grants[who, role, scope] = None if days is None else self.now + days * DAY
        # A role that had no end before is not given anew.
        if days is None and had_end:
            self._settle(who, role, scope, told=who == by)

    def remove_role(self, by: str, who: str, role: str, scope: str) -> None:
        """Take a role away."""
        self._judge(by, "revoke", who, role, scope)
        if (who, role, scope) in self._live():
            self._ensure_owner_remains(who, role, scope)
            del self.grants[who, role, scope]

    def _ensure_owner_remains(self, who: str, role: str, scope: str) -> None:
        if role in OWNERS and self.grants[who, role, scope] is None:
            unless(self._owners(scope, besides=who), "scope.last_owner")

    def leave(self, by: str, scope: str) -> None:
        """Leave a group."""
        unless(not self._gone(scope), "group.unknown")
        role = self._role_in(by, scope)
        unless(role, "group.not_member")
        self._ensure_owner_remains(by, str(role), scope)
        del self.grants[by, str(role), scope]

    def change_role(self, by: str, who: str, role: str, new: str, scope: str) -> None:
        """Replace a role by another one with the same end date."""
        self._judge(by, "revoke", who, role, scope)
        self._judge(by, "give", who, new, scope)
        unless((who, role, scope) in self._live(), "grant.unknown")
        unless(role != new, "grant.exists")
        if new not in OWNERS:
            self._ensure_owner_remains(who, role, scope)
        unless((who, new, scope) not in self._live(), "grant.exists")
        self.grants[who, new, scope] = self.grants.pop((who, role, scope))
        self._settle(who, new, scope, told=who == by)

    # Ends.

    def remove(self, by: str, scope: str) -> None:
        """Delete a scope with its invitations, links and requests."""
        place = self.scopes[scope]
        kind, parent = place["kind"], place["parent"]
        seen = not self._gone(scope) if kind == "group" else self.sees(by, scope)
        unless(seen, f"{kind}.unknown")
        right = f"{kind}.delete"
        held = self.held(by, scope if parent is None else parent)
        unless(self._staff(by) or right in held, "permission.missing")
        if kind == "project":
            unless(self._is_open(scope), "organisation.unavailable")
        if kind == "organisation":
            below = [at for at in self.scopes if self.scopes[at]["parent"] == scope]
            unless(not place["blocked"], "organisation.blocked")
            unless(all(self._gone(at) for at in below), "organisation.has_projects")
        place["gone"] = True
        self.grants = {key: until for key, until in self.grants.items() if key[2] != scope}
        for row in (*self.invitations.values(), *self.requests.values()):
            if row["scope"] == scope and row["state"] in WAITING:
                row["state"] = "canceled"
        for link in self.links.values():
            link["closed"] |= link["scope"] == scope

    def delete_account(self, by: str, who: str) -> None:
        """Delete an account: what it holds ends, and nobody shows its token again."""
        unless(self._staff(by), "permission.missing")
        unless(not self.people[who].get("gone"), "account.unknown")
        asks = {row["who"] for row in self.requests.values() if row["state"] == "pending"}
        unless(who not in asks, "account.has_requests")
        for (one, role, scope), until in self.grants.items():
            if one == who and role in OWNERS and until is None:
                unless(self._owners(scope, besides=who), "account.last_owner")
        self.grants = {key: until for key, until in self.grants.items() if key[0] != who}
        self._end_invitations(who, everywhere=True)
        self.people[who].update(active=False, gone=True)
        for mail in [mail for mail in self.mails if mail[1] == who]:
            del self.mails[mail]
        self.tokens.pop(who, None)

    # Staff, and tokens.

    def block(self, by: str, scope: str, *, blocked: bool) -> None:
        """Close an organisation to newcomers, or open it again."""
        unless(self.sees(by, scope), "organisation.unknown")
        unless(self._staff(by), "permission.missing")
        self.scopes[scope]["blocked"] = blocked

    def switch(self, by: str, who: str, *, active: bool) -> None:
        """Switch somebody off, or on again."""
        unless(self._staff(by), "permission.missing")
        unless(not self.people[who].get("gone"), "account.unknown")
        if self.people[who]["active"] != active:
            # Switching off ends every token, and switching on revives none.
            self.tokens.pop(who, None)
        if self.people[who]["active"] and not active:
            self._end_invitations(who)
        self.people[who]["active"] = active

    def _end_invitations(self, who: str, *, everywhere: bool = False) -> None:
        """End what invites an account to groups: nobody else can accept it.

        Args:
            everywhere: whatever it is invited to, since its address goes.
        """
        for row in self.invitations.values():
            group = everywhere or self.scopes[row["scope"]]["kind"] == "group"
            if group and row["email"] == who and row["state"] in WAITING:
                row["state"] = "canceled"
            if everywhere and row["email"] == who:
                row["erased"] = True

    def log_in(self, who: str, given: str | None = None) -> None:
        """Return the token of an account, or a new one if it has expired.

        Args:
            given: what the service gave, where that matters.
        """
        unless(self.people[who]["active"], "login.failed")
        lives = who in self.tokens and self.tokens[who] + TOKEN_LIFETIME >= self.now
        unless(not lives or given in {None, self.latest.get(who)}, "token.other")
        self.tokens[who] = self.now
        self.latest[who] = given

    def log_out(self, by: str) -> None:
        """End one's token."""
        self.tokens.pop(by, None)

    def end_token(self, by: str, who: str) -> None:
        """End somebody's token, as staff."""
        unless(self._staff(by), "permission.missing")
        unless(who in self.tokens, "token.none")
        del self.tokens[who]

    def look(self, by: str) -> None:
        """Show oneself: nothing but a token is asked for."""
