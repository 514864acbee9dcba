"""Eight concurrent callers of two servers, with actions on the same few objects."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.proof.doors import Wires
from tests.proof.history import Call
from tests.proof.stage import ROLES, Piece
from tests.support.serving import TLS

CALLERS = 8
ENDS = 3
"""Maximum number of deleted scopes and accounts in a run, so that some remain."""
_PERSONS = ("ada", "bob", "mia", "otto")
_GIVERS = ("olga", "olga", "otto", "mia", "staff")


class Storm:
    """One run of concurrent calls on the objects of a piece.

    Args:
        bases: URLs of the servers.
        seed: seed of the random choices.
    """

    def __init__(self, piece: Piece, bases: Sequence[str], seed: int) -> None:
        self.piece = piece
        self.calls: list[Call] = []
        self.lost = 0
        """Calls whose connection broke, so their outcome is unknown."""
        self._random = random.Random(seed)  # noqa: S311 - chooses actions
        self._bases = bases
        self._turns = 0
        self._ends = ENDS
        self._lock = threading.Lock()
        for name, person in piece.names.people.items():
            piece.model.tokens[name] = 0
            piece.model.latest[name] = person.token
        self._tokens = {name: person.token for name, person in piece.names.people.items()}

    def door(self, client: httpx.Client) -> Wires:
        """Return the adapter of one caller."""

        def send(method: str, path: str, **options: Any) -> httpx.Response:
            return client.request(method, path, **options)

        door = Wires(self.piece, send)
        door.tokens = self._tokens
        return door

    def prepare(self) -> None:
        """Create invitations, links and requests."""
        with httpx.Client(base_url=self._bases[0], timeout=30, verify=TLS) as client:
            door = self.door(client)
            for action, given, more in (
                ("invite", ("olga", "i-1", "ada", "PROJECT.MEMBER", "pro"), {}),
                ("invite", ("mia", "i-2", "bob", "PROJECT.MEMBER", "pro"), {}),
                ("invite", ("staff", "i-3", "ada", "CUSTOMER.OWNER", "lab"), {}),
                ("open", ("olga", "o-1", "PROJECT.MEMBER", "pro"), {"auto": False, "many": False}),
                ("open", ("mia", "o-2", "PROJECT.MEMBER", "pro"), {"auto": True, "many": False}),
                ("ask", ("ada", "r-1", "o-1"), {}),
                ("ask", ("bob", "r-2", "band"), {}),
                ("offer", ("olga", "i-4", "otto", "GROUP.OWNER", "band"), {}),
                ("offer", ("olga", "i-5", "ada", "GROUP.MEMBER", "band"), {}),
            ):
                self.call(door, action, given, more)

    def rage(self, actions: int, until: float = float("inf")) -> None:
        """Run all callers at once, with this number of actions each."""
        self._turns += 1
        barrier = threading.Barrier(CALLERS)
        seeds = [self._random.random() for _ in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as pool:
            jobs = [
                pool.submit(self._caller, number, seed, actions, barrier, until)
                for number, seed in enumerate(seeds)
            ]
        for job in jobs:
            job.result()

    def _caller(
        self, number: int, seed: float, actions: int, barrier: threading.Barrier, until: float
    ) -> None:
        rng = random.Random(seed)  # noqa: S311 - as above
        base = self._bases[number % len(self._bases)]
        with httpx.Client(base_url=base, timeout=60, verify=TLS) as client:
            door = self.door(client)
            barrier.wait(timeout=30)
            for turn in range(actions):
                if time.monotonic() > until or self.lost > 2 * CALLERS:
                    return
                self.call(door, *self._choose(rng, f"{self._turns}-{number}-{turn}"))

    def call(self, door: Wires, action: str, given: tuple[Any, ...], more: dict[str, Any]) -> None:
        """Run an action; record its start, end and response."""
        shown = None if action == "log_in" else self._tokens[given[0]]
        door.shown = shown
        group = door.is_of_group(action, *given)
        start = time.monotonic()
        try:
            answer = door.answer(action, *given, **more)
        except httpx.TransportError:
            with self._lock:
                self.lost += 1
            time.sleep(0.05)
            return
        end = time.monotonic()
        if action == "log_in" and answer == "200":
            given = (*given, self._tokens[given[0]])
        with self._lock:
            self.calls.append(Call(start, end, action, given, more, shown, answer, group))

    def _choose(self, rng: random.Random, name: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        names = self.piece.names
        action = rng.choice(_ACTIONS)
        if action in {"remove", "delete_account"}:
            self._ends -= 1
            action = action if self._ends >= 0 else "invite"
        giver, person = rng.choice(_GIVERS), rng.choice(_PERSONS)
        anybody = rng.choice((giver, person))
        invitation = rng.choice(sorted(names.invitations)[-4:] or [""])
        request = rng.choice(sorted(names.requests)[-3:] or [""])
        place = rng.choice(("pro", "pro", "lab"))
        role = rng.choice(ROLES[place])
        good = {"good": rng.random() < 0.6}
        in_group = invitation in names.in_groups
        if action in {"decline", "send"} and (action == "send") == in_group:
            action = "accept"
        if not invitation and action in {"accept", "cancel", "send", "decline"}:
            action = "invite"
        if not request and action in {"decide", "withdraw"}:
            action = "ask"
        link = rng.choice(["band", *sorted(names.links)])
        given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
            "invite": ((giver, name, person, role, place), {}),
            "accept": ((person, invitation), {}),
            "cancel": ((giver, invitation), {}),
            "decline": ((person, invitation), {}),
            "send": ((giver, invitation), {}),
            "open": ((giver, name, role, place), {"auto": good["good"], "many": False}),
            "close": ((giver, link if link != "band" else "o-1"), {}),
            "ask": ((person, name, link), {}),
            "decide": ((giver, request), good),
            "withdraw": ((person, request), {}),
            "give_role": ((giver, person, role, place, None), {}),
            "update_role": ((giver, person, role, place, rng.choice((None, 8))), {}),
            "remove_role": ((giver, rng.choice((person, "olga")), role, place), {}),
            "leave": ((anybody if anybody != "staff" else "olga", "band"), {}),
            "look": ((person,), {}),
            "log_in": ((person,), {}),
            "log_out": ((person,), {}),
            "end_token": (("staff", person), {}),
            "switch": (("staff", person), {"active": rng.random() < 0.5}),
            "delete_account": (("staff", rng.choice((person, "olga"))), {}),
            "remove": ((giver, rng.choice(("pro", "band", "later", "lab"))), {}),
        }
        return (action, *given[action])


_ACTIONS = (
    *("accept",) * 6,
    *("decide",) * 4,
    *("cancel", "send", "withdraw", "ask", "give_role", "remove_role", "leave", "look", "log_in")
    * 2,
    *("invite", "open", "close", "decline", "log_out", "end_token"),
    *("update_role", "switch", "delete_account", "remove"),
)
