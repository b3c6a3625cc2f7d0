"""The simulation: every task ends once, the same arguments give the same, and no slot is idle while a task waits."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.simulation.engine import Setup, Simulation
from callboard.actors.simulation.fleet import NS_PER_S, Fleet, Machine, Scales, Window, alike
from callboard.actors.simulation.rules import SIMPLE, Chooser, Routed, Simple
from callboard.actors.simulation.server import Server
from callboard.actors.simulation.trace import Arrival
from callboard.events.prefix import BLOCK
from callboard.projections.load import LOAD
from callboard.projections.prefixes import PREFIXES

NAMES = ["adaptive", "balanced", "fastest", *SIMPLE]

arrivals = st.lists(
    st.builds(
        lambda at, session, turns, output: Arrival(
            at, turns * BLOCK, output, tuple(session * 10 + turn for turn in range(turns))
        ),
        st.integers(0, 60 * NS_PER_S),
        st.integers(0, 5),
        st.integers(1, 9),
        st.integers(1, 400),
    ),
    min_size=1,
    max_size=60,
).map(sorted)
windows = st.builds(
    lambda start, length, slower, fails: Window(start, start + length, slower, fails),
    st.integers(0, 50),
    st.integers(1, 30),
    st.integers(1, 5),
    st.booleans(),
)
scales = st.builds(
    lambda least, more, wait, down, idle: Scales(least, least + more, wait, cool_down_s=down, idle_s=idle),
    *(st.integers(0, 2), st.integers(1, 3), st.floats(0.1, 5), st.integers(1, 20), st.integers(1, 20)),
)
machines = st.builds(
    Machine,
    scaling=st.none() | scales,
    start_s=st.sampled_from([0.0, 3.0]),
    concurrency=st.integers(1, 4),
    replicas=st.integers(1, 2),
    cache_tokens=st.sampled_from([0, 3 * BLOCK, 10**6]),
    reports_cached=st.booleans(),
    windows=st.lists(windows, max_size=2).map(tuple),
)
fleets = st.lists(machines, min_size=1, max_size=4).map(lambda found: {f"b{n}": one for n, one in enumerate(found)})
setups = st.builds(Setup, st.integers(1, 3), st.sampled_from([0, 5_000_000, 2 * NS_PER_S]), st.integers(0, 99))


def chooser(name: str) -> Chooser:
    return Simple(name, SIMPLE[name]) if name in SIMPLE else Routed(Rules(policies(), default=name))


def run(name: str, found: list[Arrival], fleet: Fleet, setup: Setup) -> Simulation:
    simulation = Simulation(fleet, partial(chooser, name), setup)
    simulation.run(found)
    return simulation


@settings(max_examples=60)
@given(st.sampled_from(NAMES), arrivals, fleets, setups)
def test_every_task_ends_once_and_nothing_is_left(name, found, fleet, setup):
    """Whatever fails when: each task is answered or given up, servers and views are empty, times are in order."""
    simulation = run(name, found, fleet, setup)
    measures = simulation.measures
    assert measures.ended.total() == len(found)
    assert measures.ended["completed"] == len(measures.completion)
    assert set(measures.ended) <= {"completed", "dead"}
    assert not any(server.busy or server.queue for server in simulation.servers.values())
    times = zip(measures.queue, measures.first_token, measures.completion, strict=True)
    assert all(0 <= queued <= first <= done for queued, first, done in times)
    simulation.timeline.see(10**18)
    assert not simulation.timeline.state(LOAD).where
    assert not simulation.timeline.state(PREFIXES).claims
    if not any(machine.windows for machine in fleet.values()):
        assert measures.usage.input == sum(arrival.input for arrival in found)
        assert measures.usage.output == sum(arrival.output for arrival in found)


@settings(max_examples=20)
@given(st.sampled_from(NAMES), arrivals, fleets, setups)
def test_the_same_seed_gives_the_same(name, found, fleet, setup):
    """To the nanosecond."""
    one, other = (run(name, found, fleet, setup).measures for _ in range(2))
    assert (one.queue, one.completion, one.usage, one.cost) == (other.queue, other.completion, other.usage, other.cost)


@settings(max_examples=30)
@given(st.sampled_from(["fastest", "least-requests"]), arrivals, st.integers(1, 4))
def test_nobody_waits_while_a_slot_is_free(name, found, slots):
    """One backend is work-conserving: a task waits exactly when all its slots are busy."""
    simulation = run(name, found, {"a": Machine(concurrency=slots, slowdown=1.0, cache_tokens=0)}, Setup())
    machine = simulation.servers["a"].machine
    free, queued = [0] * slots, []
    for arrival in found:
        free.sort()
        begins = max(free[0], arrival.at)
        queued.append(begins - arrival.at)
        free[0] = begins + machine.service(arrival.input, arrival.output, 1)[1]
    assert sorted(simulation.measures.queue) == sorted(queued)


def burst(tasks: int, blocks: int = 4, sessions: int = 10**6, every: int = NS_PER_S // 10) -> list[Arrival]:
    """Tasks one after another, in so many conversations that each have one prompt."""
    return [
        Arrival(n * every, blocks * BLOCK, 100, tuple((n % sessions) * 100 + block for block in range(blocks)))
        for n in range(tasks)
    ]


def test_prompts_go_where_they_are_cached():
    """Of twenty conversations on five backends, nearly all that could be served by caches is; chance serves a fifth."""
    found = burst(1000, blocks=8, sessions=20)
    hits = {}
    for name in ("fastest", "random"):
        usage = run(name, found, alike(5), Setup()).measures.usage
        hits[name] = usage.cached / usage.input
    assert hits["fastest"] > 0.9
    assert hits["random"] < hits["fastest"]


def test_affinity_needs_no_reports():
    """Backends that never tell cached tokens are known by their first tokens."""
    silent = {name: replace(machine, reports_cached=False) for name, machine in alike(5).items()}
    found = [
        arrival._replace(input=arrival.input + n % 7 * BLOCK) for n, arrival in enumerate(burst(2000, 8, sessions=200))
    ]
    usage = run("fastest", found, silent, Setup()).measures.usage
    assert usage.cached / usage.input > 0.4


def test_replicas_follow_the_load():
    """A burst gets more replicas and waits less than with one; in the pause there are none, and the next is served."""
    found = burst(200) + [arrival._replace(at=arrival.at + 600 * NS_PER_S) for arrival in burst(200)]
    plain = Machine(concurrency=2)
    scaled = replace(plain, scaling=Scales(0, 8, 2.0, cool_down_s=30, idle_s=60), start_s=3.0)
    one, most, follows = (
        run("fastest", found, {"a": machine}, Setup()) for machine in (plain, replace(plain, replicas=8), scaled)
    )
    assert follows.measures.ended == {"completed": 400}
    assert sum(follows.measures.queue) < sum(one.measures.queue) / 4
    assert follows.servers["a"].replica_ns < most.servers["a"].replica_ns / 3
    events = [change.replicas for _, change in follows.scaled]
    assert max(events) > 1
    assert 0 in events[:-1]


def test_a_backend_in_trouble_is_left_alone():
    """While one fails, the others do its work; none is lost."""
    fleet = alike(4)
    fleet["backend-2"] = replace(fleet["backend-2"], windows=(Window(10, 60, fails=True),))
    simulation = run("fastest", burst(1000), fleet, Setup())
    assert simulation.measures.ended == {"completed": 1000}
    assert max(simulation.measures.queue) < 20 * NS_PER_S


def test_several_routers_with_old_views_do_not_rush_together():
    """Drawing two bounds what each wrong view costs: the load stays even."""
    simulation = run("fastest", burst(3000, every=NS_PER_S // 30), alike(8), Setup(routers=6, view_delay=NS_PER_S // 2))
    busy = [server.busy_ns for server in simulation.servers.values()]
    assert max(busy) < 1.3 * sum(busy) / len(busy)


def test_a_server_forgets_what_was_used_longest_ago():
    """Its cache holds three blocks; of a prompt that does not fit, the beginning stays."""
    server = Server(Machine(cache_tokens=3 * BLOCK))
    cache = server._cache
    cache.keep((1, 2))
    cache.keep((3, 4))
    assert cache.hits((3, 4)) == 2
    assert cache.hits((1, 2)) == 1
    cache.keep((5, 6, 7, 8))
    assert cache.hits((5, 6, 7, 8)) == 3
    assert cache.hits((1,)) == 0


@pytest.mark.parametrize("busy", [1, 8, 16])
def test_a_full_server_writes_more_slowly(busy):
    """In proportion to how full it is; reading takes its time in any case."""
    machine = Machine(prefill_tokens_per_s=1000.0, decode_tokens_per_s=10.0, slowdown=2.0)
    each = NS_PER_S // 10 * (1 + (busy - 1) / 15)
    assert machine.service(500, 20, busy) == (NS_PER_S // 2 + round(each), NS_PER_S // 2 + round(20 * each))
