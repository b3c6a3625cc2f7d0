"""What prefix caches hold, as the log tells."""

from generators.task_histories import START

from callboard.events import task
from callboard.events.backend import Removed
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.placement import Hedged
from callboard.events.prefix import BLOCK, MARK
from callboard.events.task_spec import Decision
from callboard.projections.prefixes import PREFIXES, REACH, Prefixes, held

PER_TOKEN = 100_000
OVERHEAD = 20_000_000


def told(state: Prefixes, task_id: str, event: task.TaskEvent) -> Prefixes:
    return PREFIXES.apply(state, Envelope("e", "router#1", f"task/{task_id}", START, event, 1))


def prompt(name: int, blocks: int) -> bytes:
    """The marks of a prompt of up to eight blocks that shares nothing with another name's."""
    return b"".join((name << 8 | block).to_bytes(MARK, "big") for block in range(blocks))


def assigned(backend: str, prefix: bytes, tokens: int, cached: int = 0) -> task.Assigned:
    return task.Assigned(backend, 1, tokens, Decision("p", "r", 0, prefix=prefix), cached=cached)


def done(backend: str, tokens: int, cached: int, *, reports: bool = True) -> task.Completed:
    first = OVERHEAD + PER_TOKEN * (tokens - cached)
    return task.Completed(
        backend, 1, "x", Usage(tokens, 9, cached if reports else 0), 1, "m", first_token=first, duration=2 * first
    )


def served(
    state: Prefixes, name: int, blocks: int, cached: int, *, reports: bool = True, backend: str = "a"
) -> Prefixes:
    """A task of so many blocks was assigned to a backend that had kept so many of its tokens."""
    state = told(state, f"t{name}", assigned(backend, prompt(name, blocks), blocks * BLOCK, cached))
    return told(state, f"t{name}", done(backend, blocks * BLOCK, cached, reports=reports))


def test_whoever_read_a_prompt_has_kept_it():
    """As far as the prompts are the same, and only there."""
    state = served(PREFIXES.initial(), 1, 6, 0)
    state = served(state, 2, 6, 0, backend="b")
    assert held(state, prompt(1, 4)) == {"a": 4 * BLOCK}
    assert held(state, prompt(1, 8)) == {"a": 6 * BLOCK}
    assert held(state, prompt(2, 8)) == {"b": 6 * BLOCK}
    assert held(state, prompt(3, 8)) == {}


def test_what_was_long_ago_is_forgotten():
    """When more than its reach has gone through a cache since, a prompt is no longer expected there."""
    state = served(PREFIXES.initial(), 1, 4, 0)
    state = told(state, "big", assigned("a", prompt(2, 1), REACH - 1))
    assert held(state, prompt(1, 4)) == {"a": 4 * BLOCK}
    state = told(state, "more", assigned("a", prompt(3, 1), 4 * BLOCK))
    assert held(state, prompt(1, 4)) == {}


def test_marks_are_bounded(monkeypatch):
    """What is beyond every cache's part of what they may hold together is dropped; what is used again stays."""
    monkeypatch.setattr("callboard.projections.prefixes.KEPT", 2 * 60 * BLOCK)
    state = served(PREFIXES.initial(), 0, 3, 0, backend="b")
    for name in range(1, 500):
        state = served(state, name, 3, 0)
        state = served(state, 0, 3, 0)
        assert sum(map(len, state.pages.values())) // 8 <= 1.5 * 60 + 12
    assert held(state, prompt(0, 3)) == {"a": 3 * BLOCK, "b": 3 * BLOCK}
    assert held(state, prompt(495, 3)) == {"a": 3 * BLOCK}
    assert held(state, prompt(400, 3)) == {}


def test_a_backend_that_is_removed_has_kept_nothing():
    """Nor does one that comes after it inherit what it had."""
    state = served(served(PREFIXES.initial(), 1, 4, 0), 2, 4, 0, backend="b")
    state = PREFIXES.apply(state, Envelope("e", "fleet", "backend/a", START, Removed(), 1))
    assert held(state, prompt(1, 4)) == {}
    state = served(state, 3, 4, 0, backend="c")
    assert held(state, prompt(1, 4)) == {}
    assert held(state, prompt(2, 4)) == {"b": 4 * BLOCK}
    assert held(state, prompt(3, 4)) == {"c": 4 * BLOCK}
    assert state.names == ("c", "b")


def test_a_reported_miss_takes_the_reach_back():
    """A cache that says that it kept nothing is soon believed, and one that keeps on hitting is trusted further."""
    state = served(PREFIXES.initial(), 1, 8, 0)
    state = served(state, 0, 8, 1)  # it reports
    for _ in range(300):
        state = told(state, "between", assigned("a", b"\0\0\0\1", 50_000))
        state = served(state, 1, 8, 0)
    assert state.caches["a"].reach < 100_000
    for _ in range(20):
        state = served(state, 1, 8, 8 * BLOCK)
    assert held(state, prompt(1, 8)) == {"a": 8 * BLOCK}


def test_without_reports_the_first_token_tells():
    """First tokens that come early are hits; those that come as late as ever are misses."""
    early = late = PREFIXES.initial()
    for number in range(40):
        early = served(early, 1000 + number, 1 + number % 8, 0, reports=False)
        late = served(late, 1000 + number, 1 + number % 8, 0, reports=False)
    assert not early.caches["a"].reports
    assert abs(early.caches["a"].reading.slope - PER_TOKEN) < PER_TOKEN // 10
    early, late = served(early, 1, 8, 0, reports=False), served(late, 1, 8, 0, reports=False)
    for _ in range(200):
        early = served(early, 1, 8, 7 * BLOCK, reports=False)
        late = served(late, 1, 8, 0, reports=False)
    assert early.caches["a"].reach >= REACH
    assert late.caches["a"].reach < REACH // 100
    assert abs(early.caches["a"].reading.slope - PER_TOKEN) < PER_TOKEN // 10


def test_claims_end_with_their_tasks():
    """Nothing stays of a task that failed or was given back."""
    ends = (task.Released("x"), task.Cancelled(), task.DeadLettered("x"), task.Parked("x"), task.Expired(START))
    for end in ends:
        state = served(PREFIXES.initial(), 1, 4, 0)
        state = told(state, "t", assigned("a", prompt(1, 4), 9))
        assert "t" in state.claims
        assert not told(state, "t", end).claims


def test_a_hedged_task_claims_of_both_backends():
    """Each call goes through the cache of its own backend; what one gives back leaves the other's claim."""
    state = served(served(PREFIXES.initial(), 1, 4, 0), 1, 4, 0, backend="b")
    state = told(state, "t", assigned("a", prompt(1, 4), 4 * BLOCK))
    decision = Decision("p", "r", 0, prefix=prompt(1, 4))
    state = told(state, "t", Hedged("b", 2, 1, 4 * BLOCK, decision, cached=3 * BLOCK))
    assert [(claim.backend, claim.tokens) for claim in state.claims["t"]] == [("a", 4 * BLOCK), ("b", 4 * BLOCK)]
    assert (state.caches["a"].passed, state.caches["b"].passed) == (8 * BLOCK, 5 * BLOCK)
    released = told(state, "t", task.Released("wedged", "a"))
    assert [claim.backend for claim in released.claims["t"]] == ["b"]
    answered = told(state, "t", done("b", 4 * BLOCK, 4 * BLOCK))
    assert "t" not in answered.claims
    assert (answered.caches["a"].proven, answered.caches["b"].reports) == (0, True)
