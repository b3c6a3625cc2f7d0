"""Equal backends by the length of their queues, where what is predicted of them tells no more."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.alike import DOUBT, by_queue
from callboard.actors.router.options import Option
from callboard.events.backend import Backend, BackendSpec
from callboard.events.money import Price

NAMES = "abcdefgh"
ALL_ALIKE = {name: Backend(name, BackendSpec("openai", "m"), Price(1, 1)) for name in NAMES}

found = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 9), st.sampled_from([1, 4]), st.sampled_from([0, 512])), max_size=8
).map(
    lambda rows: [
        Option(name, 10, latency, 9, 750_000, cached=cached, width=width, ahead=ahead)
        for name, (latency, ahead, width, cached) in zip(NAMES, rows, strict=False)
    ]
)


def latencies(*given: tuple[int, int, int]) -> list[int]:
    """Of equal backends, each with its latency, the calls ahead and its width."""
    options = [
        Option(name, 10, latency, 9, 750_000, width=width, ahead=ahead)
        for name, (latency, ahead, width) in zip(NAMES, given, strict=False)
    ]
    return [option.latency for option in by_queue(options, ALL_ALIKE)]


def test_equals_are_ranked_by_the_noise_of_what_is_predicted():
    """What looks quicker by less than the doubt is not: the shortest queue is the quickest."""
    assert latencies((100, 7, 4), (110, 6, 4), (124, 5, 4)) == [124, 110, 100]


def test_a_slow_twin_with_an_empty_queue_looks_as_good_as_a_quick_one():
    """Beyond the doubt it is slower, and stays where it is."""
    assert latencies((100, 9, 4), (126, 1, 4), (1000, 0, 4)) == [100, 126, 1000]


def test_a_backend_gets_the_queue_of_one_that_is_wider():
    """Calls count for the width: 20 on 16 lanes are a shorter queue than 6 on 4."""
    assert latencies((100, 6, 4), (101, 20, 16)) == [101, 100]


def test_equal_queues_are_ranked_all_the_same():
    """They are equally quick, so that the lot decides between them, and not who looked quicker lately."""
    assert latencies((100, 3, 4), (102, 3, 4), (104, 1, 4)) == [102, 102, 100]


def test_a_warm_cache_is_no_twin_of_a_cold_one():
    """Nor is another model, another price, or another quality."""
    kinds = [
        (Backend("a", BackendSpec("openai", "m"), Price(1, 1)), 512, 750_000),
        (Backend("b", BackendSpec("openai", "other"), Price(1, 1)), 0, 750_000),
        (Backend("c", BackendSpec("openai", "m"), Price(2, 1)), 0, 750_000),
        (Backend("d", BackendSpec("openai", "m"), Price(1, 1)), 0, 700_000),
        (Backend("e", BackendSpec("openai", "m"), Price(1, 1)), 0, 750_000),
    ]
    options = [
        Option(backend.id, 10, 100 + number, 9, quality, cached=cached, ahead=9 - number)
        for number, (backend, cached, quality) in enumerate(kinds)
    ]
    assert by_queue(options, {backend.id: backend for backend, _, _ in kinds}) == tuple(options)


@given(found)
def test_nothing_is_made_up(options):
    """No latency changes by more than the doubt, or to one that was not predicted of a twin; nothing else changes."""
    for cached in (0, 512):
        before = [option for option in options if option.cached == cached]
        after = by_queue(before, ALL_ALIKE)
        assert [option.backend for option in after] == [option.backend for option in before]
        assert {option.latency for option in after} <= {option.latency for option in before}
        assert min((o.latency for o in after), default=0) == min((o.latency for o in before), default=0)
        for one, other in zip(before, after, strict=True):
            assert abs(one.latency - other.latency) <= min(o.latency for o in before) // DOUBT
    together = by_queue(options, ALL_ALIKE)
    apart = {
        o.backend: o for cached in (0, 512) for o in by_queue([o for o in options if o.cached == cached], ALL_ALIKE)
    }
    assert together == tuple(apart[option.backend] for option in options)


@given(found)
def test_a_longer_queue_is_never_the_quicker_one(options):
    """Of twins within the doubt."""
    after = by_queue(options, ALL_ALIKE)
    for one in after:
        twins = [(old, new) for old, new in zip(options, after, strict=True) if new.cached == one.cached]
        least = min(old.latency for old, _ in twins)
        level = [new for old, new in twins if old.latency <= least + least // DOUBT]
        for a in level:
            for b in level:
                if a.ahead / a.width < b.ahead / b.width:
                    assert a.latency <= b.latency
                if a.ahead / a.width == b.ahead / b.width:
                    assert a.latency == b.latency
