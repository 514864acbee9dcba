"""Eight callers over two servers, each doing actions of the model on the same few things."""

from __future__ import annotations

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

CALLERS = 8
ENDS = 3
"""So many scopes and accounts are deleted in one room: somebody must be left to quarrel."""
_PERSONS = ("ada", "bob", "mia", "otto")
_GIVERS = ("olga", "olga", "otto", "mia", "staff")


class Storm:
    """One room: a piece, and what happens in it.

    Args:
        bases: addresses of the servers.
        seed: of everything that is drawn.
    """

    def __init__(self, piece: Piece, bases: Sequence[str], seed: int) -> None:
        self.piece = piece
        self.calls: list[Call] = []
        self.lost = 0
        """Calls that were cut off: whether they were done, their callers do not know."""
        self._random = random.Random(seed)  # noqa: S311 - draws actions, guards nothing
        self._bases = bases
        self._turns = 0
        self._ends = ENDS
        self._lock = threading.Lock()
        for name, person in piece.names.people.items():
            piece.model.tokens[name] = 0
            piece.model.latest[name] = person.token
        self._tokens = {name: person.token for name, person in piece.names.people.items()}

    def door(self, client: httpx.Client) -> Wires:
        """Give a caller's own way in."""

        def send(method: str, path: str, **options: Any) -> httpx.Response:
            return client.request(method, path, **options)

        door = Wires(self.piece, send)
        door.tokens = self._tokens
        return door

    def prepare(self) -> None:
        """Have something there to quarrel about."""
        with httpx.Client(base_url=self._bases[0], timeout=30) as client:
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
        """Let all callers loose, for so many actions each."""
        self._turns += 1
        gate = threading.Barrier(CALLERS)
        seeds = [self._random.random() for _ in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as pool:
            jobs = [
                pool.submit(self._caller, number, seed, actions, gate, until)
                for number, seed in enumerate(seeds)
            ]
        for job in jobs:
            job.result()

    def _caller(
        self, number: int, seed: float, actions: int, gate: threading.Barrier, until: float
    ) -> None:
        draw = random.Random(seed)  # noqa: S311 - as above
        base = self._bases[number % len(self._bases)]
        with httpx.Client(base_url=base, timeout=60) as client:
            door = self.door(client)
            gate.wait(timeout=30)
            for turn in range(actions):
                if time.monotonic() > until or self.lost > 2 * CALLERS:
                    return
                self.call(door, *self._drawn(draw, f"{self._turns}-{number}-{turn}"))

    def call(self, door: Wires, action: str, given: tuple[Any, ...], more: dict[str, Any]) -> None:
        """Do an action, and write down when it began, when it was over, and what was said."""
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

    def _drawn(self, draw: random.Random, name: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        names = self.piece.names
        action = draw.choice(_DEEDS)
        if action in {"remove", "bury"}:
            self._ends -= 1
            action = action if self._ends >= 0 else "invite"
        giver, person = draw.choice(_GIVERS), draw.choice(_PERSONS)
        anybody = draw.choice((giver, person))
        invitation = draw.choice(sorted(names.invitations)[-4:] or [""])
        request = draw.choice(sorted(names.requests)[-3:] or [""])
        place = draw.choice(("pro", "pro", "lab"))
        role = draw.choice(ROLES[place])
        good = {"good": draw.random() < 0.6}
        if (action in {"decline", "send"}) and (action == "send") == (
            invitation in names.in_groups
        ):
            action = "accept"
        if not invitation and action in {"accept", "cancel", "send", "decline"}:
            action = "invite"
        if not request and action in {"decide", "withdraw"}:
            action = "ask"
        link = draw.choice(["band", *sorted(names.links)])
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
            "seat": ((giver, person, role, place, None), {}),
            "update_role": ((giver, person, role, place, draw.choice((None, 8))), {}),
            "unseat": ((giver, draw.choice((person, "olga")), role, place), {}),
            "leave": ((anybody if anybody != "staff" else "olga", "band"), {}),
            "look": ((person,), {}),
            "log_in": ((person,), {}),
            "log_out": ((person,), {}),
            "end_token": (("staff", person), {}),
            "switch": (("staff", person), {"active": draw.random() < 0.5}),
            "bury": (("staff", draw.choice((person, "olga"))), {}),
            "remove": ((giver, draw.choice(("pro", "band", "later", "lab"))), {}),
        }
        return (action, *given[action])


_DEEDS = (
    *("accept",) * 6,
    *("decide",) * 4,
    *("cancel", "send", "withdraw", "ask", "seat", "unseat", "leave", "look", "log_in") * 2,
    *("invite", "open", "close", "decline", "log_out", "end_token"),
    *("update_role", "switch", "bury", "remove"),
)
