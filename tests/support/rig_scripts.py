"""Scripts: what a client of the crash rigs does, step by step, known beforehand from a seed.

Each step has a key of its own, so a client that lost its memory sends its script again from the start; what
was done must be answered as before and what was not must be done. No step's outcome depends on another
client, so the balance at the end is known without running anything.
"""

import random
from collections.abc import Iterator
from hashlib import blake2b

from msgspec import Struct

from tokentill.rules import commands as c

ALLOWANCE = 1_000_000
TOO_MUCH = 10 * ALLOWANCE
"""A charge of so much is refused for good, and stays refused when there is more (R-LED-9)."""


class Place(Struct, frozen=True, order=True):
    """Which step of which client: the `part` of its `action`."""

    client: int
    action: int
    part: int


class Step(Struct, frozen=True):
    place: Place
    envelope: c.Envelope
    effect: int
    """What it adds to the tokens that are free."""


class Script(Struct, frozen=True):
    """The clients' steps of one seed; `organizations` are shared by the clients."""

    seed: int
    organizations: tuple[str, ...]
    made: bool = False
    """Whether no caller chooses a key, but for what will be refused."""

    def key(self, place: Place) -> str:
        return blake2b(f"{self.seed} {place}".encode(), digest_size=16).hexdigest()

    def action(self, client: int, action: int) -> list[Step]:
        """What the client does in one go."""
        dice = random.Random(f"{self.seed} {client} {action}")
        organization = dice.choice(self.organizations)
        kind = dice.choice(("charge", "grant", "whole", "part", "none", "refund", "refused", "held"))
        first = self.key(Place(client, action, 0))
        commands: list[tuple[c.Command, int]]
        if kind == "charge":
            commands = [(c.Charge(feature="op3", user=f"u{client}"), -3)]
        elif kind == "grant":
            commands = [(c.Grant(tokens=5, origin="bonus"), 5)]
        elif kind == "refund":
            commands = [(c.Charge(feature="op3"), -3), (c.Refund(operation=first), 3)]
        elif kind == "refused":
            commands = [(c.Charge(feature="op", quantity=TOO_MUCH), 0)]
        else:
            held = 1 + dice.randrange(50)
            spent = held if kind == "whole" else dice.randrange(held)
            commands = [
                (c.Reserve(feature="metered", tokens=held, user=f"u{client}", timeout_ms=3_600_000), -held)
            ]
            if kind in ("whole", "part"):
                commands.append((c.Settle(hold=first, tokens=spent), held - spent))
            elif kind == "none":
                commands.append((c.Release(hold=first), held))
        steps = []
        for part, (command, effect) in enumerate(commands):
            place = Place(client, action, part)
            named = not isinstance(command, c.Settle | c.Release | c.Refund)
            # Some callers choose a key, for others one is made; a refusal is remembered under a caller's only.
            keyed = named and (kind == "refused" or (dice.randrange(2) == 0 and not self.made))
            envelope = c.Envelope(organization, command, self.key(place) if named else None, keyed)
            steps.append(Step(place, envelope, effect))
        return steps

    def steps(self, client: int, start: int, stop: int | None) -> Iterator[Step]:
        """The client's steps from action `start` up to action `stop`, or for ever."""
        action = start
        while stop is None or action < stop:
            yield from self.action(client, action)
            action += 1
