"""More of a trace: rounds and copies, and what an endless cache could serve of them."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.simulation.trace import Arrival, Trace
from callboard.actors.simulation.workload import attainable, scaled

arrivals = st.builds(
    Arrival, st.integers(0, 10**9), st.integers(2000, 9000), st.integers(1, 99), st.tuples(st.integers(0, 9))
)
traces = st.lists(arrivals, min_size=1, max_size=30).map(lambda found: Trace("t", sorted(found)))


@given(traces, st.integers(1, 200), st.floats(0.2, 7.0))
def test_scaled_traces_go_on_as_long_as_asked(trace, tasks, factor):
    """So many tasks, in order, with prompts that are a trace's own each time it is repeated."""
    found = list(scaled(trace, tasks, factor))
    assert len(found) == tasks
    assert found == sorted(found, key=lambda arrival: arrival.at)
    assert found[0].at >= 0
    length = len(trace.arrivals)
    rounds = [found[start : start + length] for start in range(0, tasks, length)] if factor < 2 else []
    seen = [{block for arrival in one for block in arrival.blocks} for one in rounds]
    assert len(set().union(*seen)) == sum(map(len, seen))


def test_scaled_traces_keep_their_pace():
    """Three times as often is three copies, each as far apart as in the trace."""
    trace = Trace("t", [Arrival(number * 1000, 600, 1, (number % 2,)) for number in range(10)])
    found = list(islice(scaled(trace, 10**6, 3.0), 3000))
    assert found[-1].at == pytest.approx(1_000_000, rel=0.01)
    times = {}
    for arrival in found:
        times.setdefault(arrival.blocks, []).append(arrival.at)
    assert {b - a for each in times.values() for a, b in pairwise(each)} == {2000}


def test_attainable_is_what_an_endless_cache_serves():
    """The second prompt shares two blocks with the first, of which the last holds 88 tokens; so in every copy."""
    trace = Trace("t", [Arrival(0, 600, 1, (1, 2)), Arrival(1, 600, 1, (1, 2)), Arrival(2, 1000, 1, (3, 2))])
    assert attainable(trace, 3, 1.0) == 600 / 2200
    assert attainable(trace, 30, 1.0) == 600 / 2200
    assert attainable(trace, 3000, 3.0) == pytest.approx(600 / 2200, rel=0.01)
