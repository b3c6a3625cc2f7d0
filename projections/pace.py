"""Whether spending keeps its pace, and what a micro-dollar counts for so that it does.

A router that paces spends on average no more than so much a task. Every decision is booked at its predicted cost when
it is made, and corrected when its cost is known: the balance lags behind nothing.
"""

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from callboard.events.task import Assigned
from callboard.projections.bill import PPM

WINDOW: Final = 400
CELLS: Final = 3_000
"""Of the newest tasks so many are kept, or as many as have so many candidates together."""

EVERY: Final = 8
"""The shadow price is worked out anew with every eighth decision, and with the next after offers changed."""

MARGIN: Final = 100
"""A part of the pace that is not aimed at: it is a bound, and what is really spent swings about the aim."""

HORIZON: Final = 200
"""Over so many tasks a balance is spent, or paid back."""

THRIFT: Final = 8
"""To pay back what was overspent, no more than such a part is saved of each task.

Else two dear answers one after the other would have what follows done by whoever is cheapest, however badly.
"""

CREDIT: Final = 100
"""So many tasks at the pace are the most that is saved up: what was saved long ago is not spent at once.

It is much, since a single call can cost as much as fifty tasks at the pace.
"""

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
    def of(
        cls, features: bytes, tokens: int, output: int, backends: tuple[str, ...], latencies: Sequence[int]
    ) -> "Situation":
        """A task that these ``backends`` could do, each at its latency."""
        packed = struct.pack(f"<{len(latencies)}q", *latencies)
        return cls(features, tokens, output, backends, packed)


class Pace(Struct, frozen=True):
    """The newest paced tasks, and how spending stands.

    ``balance`` is what should have been spent and was not, in micro-dollars. ``money`` is the shadow price of a
    micro-dollar in parts per million, as of the decision that last worked it out, ``since`` decisions ago.
    """

    situations: tuple[Situation, ...] = ()
    balance: int = 0
    money: int = PPM
    since: int = EVERY

    @property
    def is_due(self) -> bool:
        """Whether the shadow price is to be worked out anew."""
        return self.since >= EVERY

    def target(self, pace: int) -> float:
        """What the next tasks may cost on average, in micro-dollars, to keep ``pace``."""
        aim = _aim(pace)
        return max(aim + self.balance / HORIZON, aim - aim / THRIFT)


def _aim(pace: int) -> int:
    return pace - pace // MARGIN


def assigned(pace: Pace, event: Assigned, cost: int, returned: int) -> Pace:
    """After a paced decision for a backend of this predicted ``cost``; ``returned`` was booked for it before."""
    decision, able = event.decision, event.decision.candidates.backends
    kept = max(min(WINDOW, CELLS // max(len(able), 1)), 1)
    if pace.situations and pace.situations[-1].backends == able:
        able = pace.situations[-1].backends  # kept once, not by task
    latencies = decision.candidates.latencies
    situation = Situation.of(decision.features, decision.input, decision.output, able, latencies)
    due = _aim(decision.pace) if event.attempt == 1 else 0
    balance = pace.balance + due + returned - cost
    return Pace(
        situations=(*pace.situations, situation)[-kept:],
        balance=min(max(balance, -DEBT * decision.pace), CREDIT * decision.pace),
        money=decision.money,
        since=1 if decision.solved else pace.since + 1,
    )


def settled(pace: Pace, booked: int, cost: int) -> Pace:
    """After ``cost`` was paid for what had been ``booked``."""
    return replace(pace, balance=pace.balance + booked - cost)
