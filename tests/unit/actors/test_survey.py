"""What a survey predicts, beside the same predictions as one would write them down, backend by backend."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.fleet import fleet_of
from callboard.actors.router.options import Surroundings, prompt_tokens, survey
from callboard.actors.router.standing import standing_of
from callboard.events.backend import Backend, BackendSpec
from callboard.events.chat import Usage
from callboard.events.money import Price, Step
from callboard.events.persistent import Map
from callboard.events.task import Status, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.learning import Expectations
from callboard.projections.load import OUTPUT_SMOOTHING, BackendLoad, Work
from callboard.projections.prefixes import Cache
from callboard.projections.trend import Trend

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SPEC = TaskSpec(input="Hello! " * 40)

small, times = st.integers(0, 400), st.integers(0, 10**9)
prices = st.builds(
    Price,
    small,
    small,
    st.none() | small,
    st.sampled_from([(), (Step(9_000, 9_000, over=50),), (Step(1, 1, over=99),)]),
)
backends = st.builds(
    lambda model, price, width, rpm, tpm: Backend(
        "", BackendSpec("openai", model, concurrency=width, rpm=rpm, tpm=tpm), replace(price, input=price.input * 1000)
    ),
    st.sampled_from(["m", "n", "o"]),
    prices,
    st.integers(1, 3),
    st.none() | st.just(6),
    st.none() | st.just(600),
)
loads = st.builds(
    lambda out, begun, each, answered, output, pace, ago, reliability: BackendLoad(
        Map({f"t{number}": Work(1, 9, each) for number in range(out)}),
        tokens=9 * out,
        running=begun * each,
        waiting=(each * out, *[each] * 9),
        queued=(9 * out, *[9] * 9),
        line=(out, *[out // 2] * 9),
        writing=Trend(1, base=pace),
        output=output,
        answered=answered,
        failed_at=None if ago is None else NOW - timedelta(seconds=ago),
        reliability=reliability,
        proven=9,
    ),
    *(st.integers(0, 6), st.integers(0, 2), times, st.integers(0, 99), small, times),
    *(st.none() | st.integers(-5, 99), st.integers(0, PPM)),
)
caches = st.builds(Cache, reports=st.booleans(), reading=st.builds(Trend, st.integers(0, 1), base=times, slope=small))
learned = st.tuples(st.integers(0, PPM), st.integers(0, PPM), small, st.integers(PPM // 2, 2 * PPM))
each = st.tuples(backends, loads, caches, learned, st.integers(0, 2), st.none() | small)


@given(st.dictionaries(st.sampled_from("abcdef"), each, min_size=1), st.integers(0, 9), st.none() | st.integers(1, 300))
def test_it_predicts_what_one_would_write_down(drawn, priority, most):
    """Cost, latency and what goes before, also of backends that share a model, are full, limited, or failed lately."""
    found = {name: replace(drawn[name][0], id=name) for name in sorted(drawn)}
    loads, caches, known = ({name: drawn[name][part] for name in found} for part in (1, 2, 3))
    extra = {name: Work(drawn[name][4], 7, 10**8) for name in found if drawn[name][4]}
    held = {name: drawn[name][5] for name in found if drawn[name][5] is not None}
    expected = Expectations(*([known[name][part] for name in found] for part in range(4)))
    around = Surroundings(fleet_of(found), loads, extra, expected, caches, held)
    task = Task("t", Status.SUBMITTED, replace(SPEC, priority=priority, max_tokens=most))
    options = survey(task, around, NOW).options
    assert [option.backend for option in options] == [*found]
    for option in options:
        name, tokens, unseen = option.backend, prompt_tokens(SPEC), extra.get(option.backend, Work())
        load, cached = loads[name], min(held.get(name, 0), tokens)
        same = [other for other in found if found[other].spec.model == found[name].spec.model]
        output, billed, ratio = answer(same, loads, known, most or 10**9)
        usage = Usage(tokens, billed, cached if caches[name].reports else 0)
        assert option.cost == found[name].price.cost(usage) * ratio // PPM
        standing = standing_of(found[name], load, caches[name], unseen)
        assert option.service == standing.service(tokens - cached, output)
        assert option.latency == latency(standing, option.service, priority)
        assert option.ahead == load.calls_ahead(priority) + unseen.tasks
        assert (option.quality, option.spread) == known[name][:2]


def answer(same, loads, known, most: int) -> tuple[int, int, int]:
    """Tokens, those billed, and the ratio of the bill: over all backends of a model."""
    weights = {name: min(loads[name].answered, OUTPUT_SMOOTHING) for name in same}
    total = sum(loads[name].output * weights[name] for name in same)
    output = min(total // sum(weights.values()) if any(weights.values()) else USUAL_OUTPUT, most)
    learned = [known[name] for name in same if known[name][2]]
    if not learned:
        return output, output, PPM
    billed, ratios = (sum(one[part] for one in learned) // len(learned) for part in (2, 3))
    return output, min(billed, most), ratios


def latency(standing, service: int, priority: int) -> int:
    """The wait for a free lane, or for the endpoint's limits, and the call, as often as it takes until one is good."""
    load, spec, extra = standing.load, standing.backend.spec, standing.extra
    before = 0 if standing.room > 0 else load.ahead(priority, standing.width) + extra.service
    waits = [before // standing.width]
    if spec.tpm:
        waits.append((load.tokens_ahead(priority) + extra.tokens) * 60 * 10**9 // spec.tpm)
    if spec.rpm:
        waits.append((len(load.outstanding) + extra.tasks) * 60 * 10**9 // spec.rpm)
    if load.failed_at is None:
        return max(waits) + service
    faded = min(max(NOW - load.failed_at, timedelta(0)), timedelta(minutes=1)) // timedelta(microseconds=1)
    reliability = load.reliability + (PPM - load.reliability) * faded // 60_000_000
    return (max(waits) + service) * PPM // max(reliability, PPM // 20)
