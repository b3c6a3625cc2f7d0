"""Where a backend stands, and that what is remembered of it is what would be worked out anew."""

from generators.task_histories import START
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.fleet import fleet_of
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.actors.router.standing import standing_of, standings
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.events.scaling import Scaling
from callboard.events.task import Assigned, Evaluated, Status, Task
from callboard.events.task_spec import Decision, TaskSpec
from callboard.projections.learning import LEARNING
from callboard.projections.load import BackendLoad, Work
from callboard.projections.prefixes import Cache
from callboard.projections.projection import fold
from callboard.projections.trend import Trend

TRENDS = st.builds(Trend, count=st.integers(0, 2), base=st.integers(0, 9), slope=st.integers(0, 9))
BACKENDS = st.builds(
    lambda concurrency, replicas, breaker, scaling: Backend(
        "a", BackendSpec("openai", "m", concurrency=concurrency, scaling=scaling), replicas=replicas, breaker=breaker
    ),
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from(Breaker),
    st.sampled_from([None, Scaling(min=0)]),
)
LOADS = st.builds(
    lambda out, writing, proven, suspect: BackendLoad(
        Map({f"t{number}": Work(1, 9, 9) for number in range(out)}), writing=writing, proven=proven, suspect=suspect
    ),
    st.integers(0, 9),
    TRENDS,
    st.integers(0, 9),
    st.booleans(),
)


WORLDS = st.dictionaries(
    st.sampled_from("abc"),
    st.tuples(BACKENDS, LOADS, st.builds(Cache, reading=TRENDS), st.integers(0, 3)),
    min_size=1,
)


@given(st.lists(WORLDS, min_size=1))
def test_what_is_remembered_is_what_would_be_worked_out(worlds):
    """Whichever states were seen before, and whatever was assigned that they do not show."""
    for world in worlds + worlds:
        backends, loads, caches, more = ({name: states[part] for name, states in world.items()} for part in range(4))
        fleet = fleet_of({name: replace(backend, id=name) for name, backend in backends.items()})
        extra = {name: Work(tasks) for name, tasks in more.items() if tasks}
        found = standings(fleet, loads, caches, extra)
        assert found == [
            standing_of(backend, loads[backend.id], caches[backend.id], Work(more[backend.id]))
            for backend in fleet.backends
        ]
        assert all(one.room == (min(one.width - one.out, 0) if one.start else one.width - one.out) for one in found)
        assert all(bool(one.start) is one.backend.may_start for one in found)


def test_unmeasured_backends_write_at_half_their_pace_when_full():
    """In proportion between; what is cached need not be read."""
    backend, cache = Backend("a", BackendSpec("openai", "m", concurrency=4)), Cache(reading=Trend(1, base=5, slope=2))
    idle, full = (standing_of(backend, BackendLoad(), cache, Work(tasks)) for tasks in (0, 9))
    assert (full.service(0, 100) - 5) == (idle.service(0, 100) - 5) * 7 // 4
    assert idle.service(20, 0) == 5 + 2 * 20


def test_nothing_is_tried_for_its_own_sake_while_nobody_judges():
    """As long as no answer ever was judged there is nothing to learn: the fastest of equals is chosen, always."""
    backends = {name: Backend(name, BackendSpec("openai", "m")) for name in "abc"}
    loads = {
        name: BackendLoad(writing=Trend(9, base=pace), answered=9, output=100, proven=99)
        for name, pace in zip("abc", (30_000_000, 20_000_000, 30_000_000), strict=True)
    }
    told = (
        Assigned("a", 1, 9, Decision("p", "r", 0, features=b"\1")),
        Evaluated("a", 1, 700_000),
    )
    judged = fold(LEARNING, LEARNING.initial(), [Envelope("e", "s", "task/t", START, event, 1) for event in told])
    rules, task = Rules(policies()), Task("t", Status.SUBMITTED, TaskSpec(input="x"))

    def chosen(learning) -> set[str]:
        view = View(backends, loads, {}, 1, learning)
        verdicts = [route(task, view, rules, START, seed) for seed in range(50)]
        return {verdict.backend for verdict in verdicts if isinstance(verdict, Assigned)}

    assert chosen(LEARNING.initial()) == {"b"}
    assert len(chosen(judged)) > 1
