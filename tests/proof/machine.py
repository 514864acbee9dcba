"""State machines that run each action in the model and in the service."""

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collegium.worker.scheduler import Scheduler
from tests.proof.doors import Actions, Wires
from tests.proof.model import DAY
from tests.proof.stage import PEOPLE, ROLES, SCOPES, Piece, Stage

EVERYBODY = (*PEOPLE, "staff")
# Accounts with rights are as frequent as those without.
ACTORS = st.sampled_from(("olga", "olga", "mia", "mia", "staff", "otto", "ada", "bob", "sue"))
PERSONS = st.sampled_from(("ada", "bob", "ada", "bob", "mia", "otto", "olga"))
PLACES = st.sampled_from(("pro", "pro", "later", "lab"))
SPANS = st.sampled_from((30, 90, 3_601, DAY // 2, DAY, 2 * DAY, 6 * DAY, 7 * DAY))
DAYS = st.sampled_from((None, None, 1, 8))
LATE = 20
"""Number of steps before the first deletion of a scope or account."""


class ModelMachine(RuleBasedStateMachine):
    """Runs every action in the model and in the service; the results must be equal."""

    stage: ClassVar[Stage]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.piece: Piece = self.stage.begin()
        self.model = self.piece.model
        self.door: Any = self._door()
        self._turn = self._seen = 0

    def _door(self) -> Any:
        return Actions(self.piece)

    def _do(self, action: str, *given: Any, **more: Any) -> None:
        """Run an action in both, if the account is active."""
        if self.model.people[given[0]]["active"]:
            wanted = self.model.answer(action, *given, **more)
            assert self.door.answer(action, *given, **more) == wanted, (action, given, more)

    def _new(self) -> str:
        self._turn += 1
        return f"{self._turn:03}"

    def _choose_name(self, data: st.DataObject, where: dict[str, Any]) -> str:
        # Mostly pending ones, because decided ones allow few actions.
        names = sorted(where, reverse=True)
        waiting = [name for name in names if where[name].get("state", "pending") == "pending"]
        return data.draw(st.sampled_from(waiting[:3] * 3 + names))

    @rule(by=ACTORS, email=PERSONS, place=PLACES, data=st.data())
    def invite(self, by: str, email: str, place: str, data: st.DataObject) -> None:
        role = data.draw(st.sampled_from(ROLES[place]))
        self._do("invite", by, self._new(), email, role, place)

    @rule(by=ACTORS, email=PERSONS, role=st.sampled_from(ROLES["band"]))
    def offer(self, by: str, email: str, role: str) -> None:
        if self.model.people[email]["active"]:
            self._do("offer", by, self._new(), email, role, "band")

    @precondition(lambda self: self.model.invitations)
    @rule(action=st.sampled_from(("accept", "accept", "accept", "cancel", "send")), data=st.data())
    def move_invitation(self, action: str, data: st.DataObject) -> None:
        name = self._choose_name(data, self.model.invitations)
        row = self.model.invitations[name]
        if action == "send" and row["scope"] == "band":
            action = "decline"
        mine = st.just(row["email"]) if action in {"accept", "decline"} else st.just(row["by"])
        self._do(action, data.draw(mine | ACTORS), name)

    @precondition(lambda self: "requested" in self._states("invitations"))
    @rule(good=st.booleans(), data=st.data())
    def decide_invitation(self, good: bool, data: st.DataObject) -> None:
        self._do("let_out", "staff", self._choose_name(data, self.model.invitations), good=good)

    @rule(by=ACTORS, place=PLACES, auto=st.booleans(), many=st.booleans(), data=st.data())
    def open(self, by: str, place: str, auto: bool, many: bool, data: st.DataObject) -> None:
        role = data.draw(st.sampled_from(ROLES[place]))
        self._do("open", by, self._new(), role, place, auto=auto, many=many)

    @precondition(lambda self: self.model.links)
    @rule(by=ACTORS, data=st.data())
    def close(self, by: str, data: st.DataObject) -> None:
        self._do("close", by, self._choose_name(data, self.model.links))

    @rule(by=PERSONS, data=st.data())
    def ask(self, by: str, data: st.DataObject) -> None:
        through = data.draw(st.sampled_from(["band", *sorted(self.model.links, reverse=True)]))
        self._do("ask", by, self._new(), through)

    @precondition(lambda self: self.model.requests)
    @rule(good=st.booleans(), data=st.data())
    def decide(self, good: bool, data: st.DataObject) -> None:
        name = self._choose_name(data, self.model.requests)
        by = data.draw(st.just(self.model.requests[name]["who"]) | ACTORS | ACTORS)
        self._do("decide", by, name, good=good)

    @precondition(lambda self: self.model.requests)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        name = self._choose_name(data, self.model.requests)
        by = data.draw(st.just(self.model.requests[name]["who"]) | ACTORS)
        self._do("withdraw", by, name)

    @rule(by=ACTORS, who=PERSONS, place=PLACES, days=DAYS, data=st.data())
    def give_role(
        self, by: str, who: str, place: str, days: int | None, data: st.DataObject
    ) -> None:
        role = data.draw(st.sampled_from(ROLES[place]))
        if self.model.people[who]["active"]:
            self._do("give_role", by, who, role, place, days)

    @rule(by=ACTORS, days=DAYS, data=st.data())
    def change_end_date(self, by: str, days: int | None, data: st.DataObject) -> None:
        grants = [key for key in sorted(self.model.grants) if key[2] != "band"]
        if not grants:
            return
        who, role, place = data.draw(st.sampled_from(grants))
        if not self.model.people[who]["active"]:
            return
        if data.draw(st.booleans()):
            self._do("update_role", by, who, role, place, days)
        else:
            self._do("remove_role", by, who, role, place)

    @precondition(lambda self: "pending" in self._states("invitations") or self.model.links)
    @rule(data=st.data())
    def revoke_roles_of_an_inviter(self, data: st.DataObject) -> None:
        """Revoke the roles of an inviter."""
        offers = [*self.model.invitations.values(), *self.model.links.values()]
        givers = sorted({row.get("voucher", row["by"]) for row in offers} - {"staff"})
        who = data.draw(st.sampled_from([*givers, "mia"]))
        for key in sorted(self.model.grants):
            if key[0] == who and key[2] != "band" and self.model.people[who]["active"]:
                self._do("remove_role", "staff", *key)

    @rule(by=ACTORS, data=st.data())
    def change_role(self, by: str, data: st.DataObject) -> None:
        grants = [key for key in sorted(self.model.grants) if key[2] == "pro"]
        if not grants:
            return
        who, role, place = data.draw(st.sampled_from(grants))
        if self.model.people[who]["active"]:
            new = data.draw(st.sampled_from(ROLES[place]))
            self._do("change_role", by, who, role, new, place)

    # Deletions come late, because they leave few possible actions.

    @precondition(lambda self: self._seen > LATE)
    @rule(by=st.just("olga") | ACTORS, data=st.data())
    def remove(self, by: str, data: st.DataObject) -> None:
        left = [name for name, row in self.model.scopes.items() if not row.get("gone")]
        place = data.draw(st.sampled_from([*left, *left, *SCOPES]))
        if by != "staff":  # the token of staff is not in the model
            self._do("log_in", by)
        self._do("remove", by, place)

    @precondition(lambda self: self._seen > LATE)
    @rule(who=PERSONS)
    def delete_account(self, who: str) -> None:
        self._do("delete_account", "staff", who)

    @rule(by=PERSONS)
    def leave(self, by: str) -> None:
        self._do("leave", by, "band")

    @rule(blocked=st.booleans())
    def block(self, blocked: bool) -> None:
        self._do("block", "staff", "lab", blocked=blocked)

    @rule(who=PERSONS, active=st.booleans())
    def switch(self, who: str, active: bool) -> None:
        self._do("switch", "staff", who, active=active)

    @rule(who=PERSONS, action=st.sampled_from(("log_in", "log_in", "log_out", "end_token")))
    def change_token(self, who: str, action: str) -> None:
        self._do(action, *(("staff", who) if action == "end_token" else (who,)))

    @rule(seconds=SPANS)
    def wait(self, seconds: int) -> None:
        self.piece.forward(seconds)

    @rule()
    def run_schedule(self) -> None:
        self.model.tick()
        stage = self.stage
        Scheduler(stage.database, stage.settings, stage.clock).run()

    def _states(self, table: str) -> set[str]:
        return {row["state"] for row in getattr(self.model, table).values()}

    @invariant()
    def rows_equal_the_model(self) -> None:
        type(self).steps += 1
        actual = self.piece.current_state()
        for name, expected in self.piece.told().items():
            assert actual[name] == expected, (name, actual[name], expected)
        self._seen += 1
        who = EVERYBODY[self._seen % len(EVERYBODY)]
        if self.model.people[who].get("gone"):
            return
        assert self.piece.shown_to(who) == self.piece.to_be_shown_to(who), who


class ApiModelMachine(ModelMachine):
    """The same through API requests with tokens; the model checks the tokens too."""

    send: ClassVar[Callable[..., Any]]

    def _door(self) -> Any:
        return Wires(self.piece, type(self).send)

    def _do(self, action: str, *given: Any, **more: Any) -> None:
        if action in {"let_out", "block", "switch", "change_role", "delete_account"}:
            Actions(self.piece).answer(action, *given, **more)
            self.model.answer(action, *given, **more)
            return
        door = self.model.answer if action == "log_in" else self.model.by_token
        code = door(action, *given, **more)
        wanted = self.door.expected(code, action, *given)
        answer = self.door.answer(action, *given, **more)
        assert answer == wanted, (action, given, more, code)
