"""Ways into the service for the actions of the model: the actions, and the two wires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import httpx
from msgspec.structs import replace

from collegium.access import queries as access_queries
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import approvals
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import actions as invite_link_actions
from collegium.join_requests import actions as join_request_actions
from collegium.memberships import actions as membership_actions
from collegium.refusals import Refusal
from collegium.roles import queries as role_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.actions import MemberChange
from collegium.scopes.groups.rules import flags_of
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.projects import actions as project_actions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from tests.proof.stage import PASSWORD, Piece, check_end


class Door(Protocol):
    """What the machine needs of a way in."""

    def answer(self, action: str, *given: Any, **more: Any) -> str:
        """Do an action of the model; give the code, or the status, of what came of it."""


class Actions:
    """The actions as functions, each in a transaction of its own."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.names = piece.names
        self.settings = piece.stage.settings
        self.database = piece.stage.database

    def answer(self, action: str, *given: Any, **more: Any) -> str:
        try:
            with self.database.write() as tx:
                getattr(self, f"_{action}")(tx, *given, **more)
        except Refusal as refusal:
            return refusal.code
        return "ok"

    def _actor(self, who: str) -> Actor:
        return self.names.people[who].actor

    def _reached(self, tx: WriteTransaction, by: str, scope: str) -> access_queries.ScopeAccess:
        place = self.names.scopes[scope]
        return access_queries.get_visible(tx, self._actor(by), place.kind, place.uuid)

    def _in_group(self, tx: WriteTransaction, invitation: str) -> bool:
        row: Any = invitation_queries.by_uuid(tx, invitation)
        return bool(row.scope_kind == ScopeKind.GROUP)

    def _invite(
        self, tx: WriteTransaction, by: str, name: str, email: str, role: str, scope: str
    ) -> None:
        reached = self._reached(tx, by, scope)
        self.names.invitations[name] = invitation_actions.create(
            tx,
            self._actor(by),
            self.settings,
            reached,
            role_queries.existing(tx, role),
            {"email": self.names.people[email].email},
        )

    def _offer(
        self, tx: WriteTransaction, by: str, name: str, email: str, role: str, scope: str
    ) -> None:
        number, person = self.names.groups[scope], self.names.people[email]
        is_manager, is_owner = flags_of(role)
        wish = MemberChange(person.email, is_manager=is_manager, is_owner=is_owner)
        reached = group_actions.lock_group_and_authorise(tx, self._actor(by), number)
        group_actions.change(tx, self._actor(by), self.settings, reached, None, [wish])
        row = invitation_queries.open_of_account(tx, number, person.id)
        if row is not None and row.uuid not in self.names.invitations.values():
            self.names.in_groups.add(name)
            self.names.invitations[name] = row.uuid

    def _accept(self, tx: WriteTransaction, by: str, name: str) -> None:
        uuid = self.names.invitations[name]
        in_group = self._in_group(tx, uuid)
        accept = invitation_actions.accept_own if in_group else invitation_actions.accept
        accept(tx, self._actor(by), self.settings, uuid)

    def _cancel(self, tx: WriteTransaction, by: str, name: str) -> None:
        invitation_actions.cancel(tx, self._actor(by), self.names.invitations[name])

    def _send(self, tx: WriteTransaction, by: str, name: str) -> None:
        invitation_actions.send(tx, self._actor(by), self.settings, self.names.invitations[name])

    def _decline(self, tx: WriteTransaction, by: str, name: str) -> None:
        invitation_actions.decline_own(tx, self._actor(by), self.names.invitations[name])

    def _let_out(self, tx: WriteTransaction, by: str, name: str, *, good: bool) -> None:
        uuid = self.names.invitations[name]
        row: Any = invitation_queries.by_uuid(tx, uuid)
        link = approvals.Decision(self._actor(by).uuid, uuid, row.link_version)
        if good:
            approvals.approve(tx, self.settings, link, "", "")
        else:
            approvals.reject(tx, link, "", "")

    def _open(
        self,
        tx: WriteTransaction,
        by: str,
        name: str,
        role: str,
        scope: str,
        *,
        auto: bool,
        many: bool,
    ) -> None:
        reached = self._reached(tx, by, scope)
        self.names.links[name] = invite_link_actions.create(
            tx,
            self._actor(by),
            self.settings,
            reached,
            role_queries.existing(tx, role),
            None,
            {"auto_approve": auto, "allow_multiple_requests": many},
        )

    def _close(self, tx: WriteTransaction, by: str, name: str) -> None:
        invite_link_actions.cancel(tx, self._actor(by), self.names.links[name])

    def _ask(self, tx: WriteTransaction, by: str, name: str, through: str) -> None:
        if through in self.names.groups:
            row, is_new = group_actions.join(tx, self._actor(by), self.names.groups[through])
            if is_new:
                self.names.in_groups.add(name)
                self.names.requests[name] = row.uuid
        else:
            link = self.names.links[through]
            asked = join_request_actions.submit(tx, self._actor(by), self.settings, link)
            self.names.requests[name] = asked.request.uuid

    def _decide(self, tx: WriteTransaction, by: str, name: str, *, good: bool) -> None:
        uuid = self.names.requests[name]
        if good:
            join_request_actions.approve(tx, self._actor(by), self.settings, uuid, None)
        else:
            join_request_actions.reject(tx, self._actor(by), uuid, None)

    def _withdraw(self, tx: WriteTransaction, by: str, name: str) -> None:
        uuid = self.names.requests[name]
        join_request_actions.cancel(tx, self._actor(by), uuid)

    def _place(
        self, tx: WriteTransaction, by: str, who: str, role: str, scope: str
    ) -> membership_actions.RoleAssignment:
        reached = self._reached(tx, by, scope)
        account = account_queries.existing(tx, self.names.people[who].id)
        return membership_actions.RoleAssignment(reached, role_queries.existing(tx, role), account)

    def _give_role(
        self, tx: WriteTransaction, by: str, who: str, role: str, scope: str, days: int | None
    ) -> None:
        until = check_end(days, self.piece.stage.clock)
        membership_actions.add(tx, self._actor(by), self._place(tx, by, who, role, scope), until)

    def _update_role(
        self, tx: WriteTransaction, by: str, who: str, role: str, scope: str, days: int | None
    ) -> None:
        until = check_end(days, self.piece.stage.clock)
        membership_actions.update(tx, self._actor(by), self._place(tx, by, who, role, scope), until)

    def _remove_role(self, tx: WriteTransaction, by: str, who: str, role: str, scope: str) -> None:
        membership_actions.remove(tx, self._actor(by), self._place(tx, by, who, role, scope))

    def _leave(self, tx: WriteTransaction, by: str, scope: str) -> None:
        group_actions.leave(tx, self._actor(by), self.names.groups[scope])

    def _change_role(
        self, tx: WriteTransaction, by: str, who: str, role: str, new: str, scope: str
    ) -> None:
        assignment = self._place(tx, by, who, role, scope)
        membership_actions.change_role(
            tx, self._actor(by), assignment, role_queries.existing(tx, new)
        )

    def _remove(self, tx: WriteTransaction, by: str, scope: str) -> None:
        if scope in self.names.groups:
            group_actions.delete(tx, self._actor(by), self.names.groups[scope])
            return
        reached = self._reached(tx, by, scope)
        is_project = self.names.scopes[scope].kind == ScopeKind.PROJECT
        ends = project_actions.delete if is_project else organisation_actions.delete
        ends(tx, self._actor(by), reached)

    def _delete_account(self, tx: WriteTransaction, by: str, who: str) -> None:
        account_actions.delete(tx, self._actor(by), self.names.people[who].uuid)

    def _block(self, tx: WriteTransaction, by: str, scope: str, *, blocked: bool) -> None:
        reached = self._reached(tx, by, scope)
        organisation_actions.update(tx, self._actor(by), reached, {"blocked": blocked})

    def _switch(self, tx: WriteTransaction, by: str, who: str, *, active: bool) -> None:
        account_actions.update(
            tx,
            self._actor(by),
            self.settings,
            self.names.people[who].uuid,
            {"is_active": active},
            agrees_to_policy=False,
        )

    def _log_in(self, tx: WriteTransaction, who: str) -> None:
        vault = self.piece.stage.vault
        token_actions.log_in(tx, vault, self.settings, self._actor(who), "password")

    def _log_out(self, tx: WriteTransaction, by: str) -> None:
        shown = token_queries.of_account(tx, self.names.people[by].id)
        actor = replace(self._actor(by), token=shown.id if shown else 0)
        token_actions.log_out(tx, actor)

    def _end_token(self, tx: WriteTransaction, by: str, who: str) -> None:
        token_actions.revoke_api_token(tx, self._actor(by), self.names.people[who].id)


_STATUS = {
    "ok": 200,
    "login.failed": 401,
    "permission.missing": 403,
    "role.above_ceiling": 403,
    "request.own": 403,
    "request.not_own": 403,
    "invitation.not_yours": 403,
    "token.none": 404,
    "organisation.has_projects": 409,
    "account.has_requests": 409,
    "account.last_owner": 409,
}


def status(action: str, code: str, *, group: bool) -> int:
    """Return the status of a protocol for a result of the model.

    Args:
        group: whether it is about a group, and so said on BrainSTEM's wire.
    """
    if code in _STATUS:
        return _STATUS[code]
    if code.startswith("token."):
        return 401
    if code.endswith(".unknown"):
        # A body that names a scope which is not to be seen is at fault, not the path.
        return 400 if action in {"invite", "open"} else 404
    return 409 if code == "request.wrong_state" and action == "decide" and not group else 400


class Wires:
    """The actions as requests: what is about a group in BrainSTEM's words, the rest in Waldur's.

    Args:
        send: takes method, path, headers and perhaps a JSON body.
        tokens: by name of person; those of the piece unless others are shown.
    """

    def __init__(self, piece: Piece, send: Callable[..., httpx.Response]) -> None:
        self.piece = piece
        self.names = piece.names
        self.tokens = {name: person.token for name, person in piece.names.people.items()}
        self._wire = send
        self.shown: str | None = None
        """What is shown instead of the latest token."""
        self._roles = piece.stage.roles

    def is_of_group(self, action: str, *given: Any) -> bool:
        """Tell whether an action is about a group."""
        if action in {"accept", "cancel", "decline", "decide", "withdraw"}:
            return given[1] in self.names.in_groups
        at = {"ask": 2, "remove": 1}.get(action)
        return action in {"offer", "leave"} or (at is not None and given[at] in self.names.groups)

    def expected(self, code: str, action: str, *given: Any) -> str:
        """Return the status for a result of the model."""
        return str(status(action, code, group=self.is_of_group(action, *given)))

    def answer(self, action: str, *given: Any, **more: Any) -> str:
        """Do an action; give the status, every good one as 200."""
        group = self.is_of_group(action, *given)
        response = getattr(self, f"_{action}")(*given, **more, **({"group": True} if group else {}))
        return "200" if response.is_success else str(response.status_code)

    def _ask_wire(
        self, method: str, path: str, by: str, *, group: bool = False, json: Any = None
    ) -> httpx.Response:
        scheme = "Bearer" if group else "Token"
        headers = {"Authorization": f"{scheme} {self.shown or self.tokens[by]}"}
        body = {} if json is None else {"json": json}
        return self._wire(method, path, headers=headers, **body)

    def _post(self, path: str, by: str, json: Any = None) -> httpx.Response:
        return self._ask_wire("POST", path, by, json=json)

    def _group_get(self, path: str, by: str) -> httpx.Response:
        return self._ask_wire("GET", f"/api/private/users/{path}/", by, group=True)

    def _url(self, scope: str) -> str:
        return f"http://collegium.test{self.names.scopes[scope].path}"

    def _invite(self, by: str, name: str, email: str, role: str, scope: str) -> httpx.Response:
        body = {
            "email": self.names.people[email].email,
            "role": self._roles[role],
            "scope": self._url(scope),
        }
        response = self._post("/api/user-invitations/", by, body)
        if response.is_success:
            self.names.invitations[name] = response.json()["uuid"].replace("-", "")
        return response

    def _offer(
        self, by: str, name: str, email: str, role: str, scope: str, *, group: bool
    ) -> httpx.Response:
        is_manager, is_owner = flags_of(role)
        person = self.names.people[email]
        flags = {"is_manager": is_manager, "is_owner": is_owner}
        path = f"/api/private/users/group/{self.names.groups[scope]}/"
        body = {"users": {person.email: flags}}
        response = self._ask_wire("PATCH", path, by, group=group, json=body)
        if response.is_success:
            with self.piece.stage.database.read() as tx:
                row = invitation_queries.open_of_account(tx, self.names.groups[scope], person.id)
            if row is not None and row.uuid not in self.names.invitations.values():
                self.names.in_groups.add(name)
                self.names.invitations[name] = row.uuid
        return response

    def _of_invitation(self, action: str, by: str, name: str, *, group: bool) -> httpx.Response:
        uuid = self.names.invitations[name]
        if group:
            return self._group_get(f"groupmembershipinvitation/{uuid}/{action}", by)
        return self._post(f"/api/user-invitations/{uuid}/{action}/", by)

    def _accept(self, by: str, name: str, *, group: bool = False) -> httpx.Response:
        return self._of_invitation("accept", by, name, group=group)

    def _cancel(self, by: str, name: str, *, group: bool = False) -> httpx.Response:
        return self._of_invitation("cancel", by, name, group=group)

    def _decline(self, by: str, name: str, *, group: bool) -> httpx.Response:
        return self._of_invitation("reject", by, name, group=group)

    def _send(self, by: str, name: str) -> httpx.Response:
        return self._of_invitation("send", by, name, group=False)

    def _open(
        self, by: str, name: str, role: str, scope: str, *, auto: bool, many: bool
    ) -> httpx.Response:
        body = {
            "role": self._roles[role],
            "scope": self._url(scope),
            "auto_approve": auto,
            "allow_multiple_requests": many,
        }
        response = self._post("/api/user-group-invitations/", by, body)
        if response.is_success:
            self.names.links[name] = response.json()["uuid"].replace("-", "")
        return response

    def _close(self, by: str, name: str) -> httpx.Response:
        return self._post(f"/api/user-group-invitations/{self.names.links[name]}/cancel/", by)

    def _ask(self, by: str, name: str, through: str, *, group: bool = False) -> httpx.Response:
        if group:
            response = self._group_get(f"group/{self.names.groups[through]}/join", by)
            if response.is_success:
                uuid = response.json()["group_membership_request"]["id"].replace("-", "")
                if uuid not in self.names.requests.values():
                    self.names.in_groups.add(name)
                    self.names.requests[name] = uuid
            return response
        path = f"/api/user-group-invitations/{self.names.links[through]}/submit_request/"
        response = self._post(path, by)
        if response.is_success:
            self.names.requests[name] = response.json()["uuid"].replace("-", "")
        return response

    def _decide(self, by: str, name: str, *, good: bool, group: bool = False) -> httpx.Response:
        uuid = self.names.requests[name]
        if group:
            action = "accept" if good else "reject"
            return self._group_get(f"groupmembershiprequest/{uuid}/{action}", by)
        action = "approve" if good else "reject"
        return self._post(f"/api/user-permission-requests/{uuid}/{action}/", by)

    def _withdraw(self, by: str, name: str, *, group: bool = False) -> httpx.Response:
        uuid = self.names.requests[name]
        if group:
            return self._group_get(f"groupmembershiprequest/{uuid}/cancel", by)
        return self._post(f"/api/user-permission-requests/{uuid}/cancel_request/", by)

    def _team(
        self, action: str, by: str, who: str, role: str, scope: str, days: int | None
    ) -> httpx.Response:
        body: dict[str, Any] = {"user": self.names.people[who].uuid, "role": self._roles[role]}
        until = check_end(days, self.piece.stage.clock)
        if until is not None:
            body["expiration_time"] = until.isoformat()
        return self._post(f"{self.names.scopes[scope].path}{action}_user/", by, body)

    def _give_role(
        self, by: str, who: str, role: str, scope: str, days: int | None
    ) -> httpx.Response:
        return self._team("add", by, who, role, scope, days)

    def _update_role(
        self, by: str, who: str, role: str, scope: str, days: int | None
    ) -> httpx.Response:
        return self._team("update", by, who, role, scope, days)

    def _remove_role(self, by: str, who: str, role: str, scope: str) -> httpx.Response:
        return self._team("delete", by, who, role, scope, None)

    def _leave(self, by: str, scope: str, *, group: bool) -> httpx.Response:
        path = f"/api/private/users/group/{self.names.groups[scope]}/leave/"
        return self._ask_wire("GET", path, by, group=group)

    def _remove(self, by: str, scope: str, *, group: bool = False) -> httpx.Response:
        if group:
            path = f"/api/private/users/group/{self.names.groups[scope]}/"
        else:
            path = self.names.scopes[scope].path
        return self._ask_wire("DELETE", path, by, group=group)

    def _delete_account(self, by: str, who: str) -> httpx.Response:
        return self._ask_wire("DELETE", f"/api/users/{self.names.people[who].uuid}/", by)

    def _switch(self, by: str, who: str, *, active: bool) -> httpx.Response:
        path = f"/api/users/{self.names.people[who].uuid}/"
        return self._ask_wire("PATCH", path, by, json={"is_active": active})

    def _log_out(self, by: str) -> httpx.Response:
        return self._post("/api-auth/logout/", by)

    def _end_token(self, by: str, who: str) -> httpx.Response:
        path = f"/api/auth-tokens/{self.names.people[who].id}/"
        return self._ask_wire("DELETE", path, by)

    def _look(self, by: str) -> httpx.Response:
        return self._ask_wire("GET", "/api/users/me/", by)

    def _log_in(self, who: str) -> httpx.Response:
        body = {"username": self.names.people[who].actor.username, "password": PASSWORD}
        response = self._wire("POST", "/api-auth/password/", headers={}, json=body)
        if response.is_success:
            self.tokens[who] = response.json()["token"]
        return response
