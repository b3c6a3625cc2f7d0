"""More tasks than a trace has, or more often: the trace over and over, and several copies of it at a time."""

import heapq
from bisect import bisect_left
from collections.abc import Iterator
from itertools import count, islice

from callboard.actors.simulation.trace import Arrival, Trace
from callboard.events.prefix import BLOCK


def scaled(trace: Trace, tasks: int, factor: float) -> Iterator[Arrival]:
    """So many ``tasks``, coming ``factor`` times as often as in the trace, which goes on round after round.

    Twice as often or more means several copies of the trace at a time, each at its own place in it and with prompts of
    its own, so that what follows upon an answer in the trace still does.
    """
    copies, apart = _copies(factor), _apart(trace)
    streams = [_copy(trace, number, copies, factor / copies, apart) for number in range(copies)]
    return islice(heapq.merge(*streams), tasks)


def attainable(trace: Trace, tasks: int, factor: float) -> float:
    """The share of input tokens that one cache, shared by all and without end, would serve of `scaled`."""
    copies, apart = _copies(factor), _apart(trace)
    seen: dict[int, tuple[int, set[int]]] = {}
    served = total = 0
    for arrival in scaled(trace, tasks, factor):
        total += arrival.input
        if not arrival.blocks:
            continue
        turn, number = divmod(arrival.blocks[0] // apart, copies)
        if number not in seen or seen[number][0] != turn:
            seen[number] = (turn, set())
        known, hits = seen[number][1], 0
        for block in arrival.blocks:
            if block not in known:
                break
            hits += 1
        known.update(arrival.blocks)
        served += min(hits * BLOCK, arrival.input)
    return served / max(total, 1)


def _copies(factor: float) -> int:
    return max(int(factor), 1)


def _apart(trace: Trace) -> int:
    """How far apart the blocks of two rounds are numbered."""
    return 1 + max((block for arrival in trace.arrivals for block in arrival.blocks), default=0)


def _copy(trace: Trace, number: int, copies: int, speed: float, apart: int) -> Iterator[Arrival]:
    """One copy without end, which begins at its part of the trace."""
    offset = trace.span * number // copies
    start = bisect_left(trace.arrivals, (offset,))
    for turn in count():
        salt = (turn * copies + number) * apart
        for arrival in trace.arrivals[start:] if turn == 0 else trace.arrivals:
            at = round((arrival.at + turn * trace.span - offset) / speed)
            yield Arrival(at, arrival.input, arrival.output, tuple([block + salt for block in arrival.blocks]))
