"""Whether spending keeps its pace, and what a micro-dollar counts for so that it does.

A router that paces spends on average no more than so much a task. Every decision is booked at its predicted cost when
it is made, and corrected when its cost is known: the balance lags behind nothing.
"""

import struct
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from callboard.events.task import Assigned
from callboard.projections.bill import PPM

WINDOW: Final = 400
CELLS: Final = 6_000
"""Of the newest tasks so many are kept, or as many as have so many candidates together."""

EVERY: Final = 8
"""The shadow price is worked out anew with every eighth decision, and with the next after offers changed."""

CREDIT: Final = 25
CALLS: Final = 3
"""So many tasks at the pace, or so many of the dearest calls of late, are the most that is saved up.

What was saved long ago is not spent at once; but a call that costs as much as twenty tasks has to be saved for.
"""

FADING: Final = 400
"""By such a part the dearest call of late fades with each decision."""

DEBT: Final = 1_000
"""So many tasks at the pace are the most that is owed."""


class Situation(Struct, frozen=True):
    """A task decided on: what it looked like, its prompt's tokens, and who could have done it at what latency.

    Its answer may have ``output`` tokens at most, any number if that is 0. ``latencies`` are those of ``backends`` in
    ns, in 64 bits each, the lowest byte first.
    """

    features: bytes
    input: int
    output: int
    backends: tuple[str, ...]
    latencies: bytes

    @classmethod
    def of(cls, features: bytes, tokens: int, output: int, latencies: Mapping[str, int]) -> "Situation":
        """A task that the backends in ``latencies`` could do."""
        packed = struct.pack(f"<{len(latencies)}q", *latencies.values())
        return cls(features, tokens, output, tuple(latencies), packed)


class Pace(Struct, frozen=True):
    """The newest paced tasks, and how spending stands.

    ``balance`` is what should have been spent and was not, in micro-dollars. ``money`` is the shadow price of a
    micro-dollar in parts per million, as of the decision that last worked it out, ``since`` decisions ago. ``dearest``
    is the cost of the dearest call of late, in micro-dollars.
    """

    situations: tuple[Situation, ...] = ()
    balance: int = 0
    money: int = PPM
    since: int = EVERY
    dearest: int = 0

    @property
    def is_due(self) -> bool:
        """Whether the shadow price is to be worked out anew."""
        return self.since >= EVERY


def assigned(pace: Pace, event: Assigned, cost: int, returned: int) -> Pace:
    """After a paced decision for a backend of this predicted ``cost``; ``returned`` was booked for it before."""
    decision = event.decision
    able = {each.backend: each.latency for each in decision.candidates if each.excluded is None}
    kept = max(min(WINDOW, CELLS // max(len(able), 1)), 1)
    situation = Situation.of(decision.features, decision.input, decision.output, able)
    if pace.situations and pace.situations[-1].backends == situation.backends:
        situation = replace(situation, backends=pace.situations[-1].backends)  # kept once, not by task
    due = decision.pace if event.attempt == 1 else 0
    dearest = max(cost, pace.dearest - pace.dearest // FADING)
    most = max(CREDIT * decision.pace, CALLS * dearest)
    return Pace(
        situations=(*pace.situations, situation)[-kept:],
        balance=min(max(pace.balance + due + returned - cost, -DEBT * decision.pace), most),
        money=decision.money,
        since=1 if decision.solved else pace.since + 1,
        dearest=dearest,
    )


def settled(pace: Pace, booked: int, cost: int) -> Pace:
    """After ``cost`` was paid for what had been ``booked``."""
    return replace(pace, balance=pace.balance + booked - cost)
