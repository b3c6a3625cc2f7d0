"""The decision about a task that has a budget, as a pure function."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.ceiling import hold_for, input_bound
from callboard.actors.router.funding import Purse, chances, fund
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View
from callboard.events.backend import Backend, BackendSpec
from callboard.events.budget import Budget
from callboard.events.chat import Message, Tool, ToolCall
from callboard.events.money import Price
from callboard.events.task import Assigned, DeadLettered, Parked, Rejected, Status, Task
from callboard.events.task_spec import Blob, TaskSpec
from callboard.projections.load import BackendLoad

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RULES = Rules(policies())

amounts = st.integers(0, 5_000)
budgets = st.builds(
    lambda limit, settled, held, on_breach: Budget("", limit, None, on_breach, True, settled, held),
    amounts,
    amounts,
    amounts,
    st.sampled_from(["ask", "degrade", "stop"]),
)
purses = st.builds(
    lambda levels, untold, room: Purse(
        tuple(msgspec.structs.replace(level, id=f"level-{n}") for n, level in enumerate(levels)),
        {"level-0": untold},
        room,
    ),
    st.lists(budgets, min_size=1, max_size=3),
    amounts,
    amounts,
)
specs = st.builds(
    TaskSpec,
    input=st.text(max_size=200).map(lambda text: text or "x"),
    max_tokens=st.none() | st.integers(1, 3000),
    policy=st.sampled_from(["best", "cheapest", "balanced"]),
    budget=st.just("level-0"),
)
prices = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 3_000_000), min_size=1)


def world(prices: dict[str, int]) -> View:
    spec = BackendSpec("openai", "m")
    return View({name: Backend(name, spec, Price(price, 2 * price)) for name, price in prices.items()}, {}, {}, 1)


@given(specs, prices, purses, st.integers(0, 2**32))
def test_whatever_is_assigned_can_be_paid(spec, prices, purse, seed):
    """The hold fits what there is and covers the price; else the task waits, or the level that falls short decides."""
    view, task = world(prices), Task("t", Status.SUBMITTED, spec)
    funded = fund(task, view, RULES, NOW, seed, purse)
    assert funded == fund(task, view, RULES, NOW, seed, purse), "the same arguments give the same verdict"
    verdict = funded.verdict
    if isinstance(verdict, Assigned):
        assert purse.fits(verdict.hold.amount)
        price = view.backends[verdict.backend].price
        assert verdict.hold.amount == price.ceiling(verdict.hold.input, verdict.hold.output)
        assert spec.max_tokens is None or verdict.hold.output == spec.max_tokens
        return
    assert isinstance(verdict, Parked | DeadLettered)
    needs = [hold_for(spec, backend, BackendLoad(), "level-0").amount for backend in view.backends.values()]
    assert not purse.fits(max(needs))
    if funded.breach is None:
        assert isinstance(verdict, Parked)
        assert not verdict.breach
        assert purse.exhausted(verdict.needed) is None
    else:
        level = next(level for level in purse.levels if level.id == funded.breach[0])
        assert purse.coming(level) < funded.breach[1].needed
        assert isinstance(verdict, DeadLettered) == (level.on_breach == "stop")
        assert f"callboard budget set {level.id} --limit" in verdict.reason
        if level.on_breach == "degrade":
            assert not any(purse.fits(need) for need in needs)


def test_an_unknown_budget_is_refused():
    """Should one get here, it can't be paid."""
    task = Task("t", Status.SUBMITTED, TaskSpec(input="x", budget="none"))
    verdict = fund(task, world({"a": 1}), RULES, NOW, 1, Purse(())).verdict
    assert isinstance(verdict, Rejected)
    assert "unknown budget 'none'" in verdict.reason


messages = st.lists(
    st.builds(
        Message,
        st.sampled_from(["user", "assistant", "tool"]),
        st.text(max_size=50),
        st.lists(st.builds(ToolCall, st.text(max_size=5), st.text(max_size=9), st.text(max_size=30)), max_size=2).map(
            tuple
        ),
        st.none() | st.text(max_size=5),
    ),
    min_size=1,
    max_size=5,
).map(tuple)


@given(messages, st.none() | st.text(max_size=50), st.booleans())
def test_a_prompt_has_no_more_tokens_than_its_bound(given_messages, system, tools):
    """The bound covers every byte that is sent, and counts a value in the blob store by its size."""
    offered = (Tool("now", "The time.", {"type": "object"}),) if tools else ()
    spec = TaskSpec(input=given_messages, system=system, tools=offered)
    texts = [text for m in given_messages for text in (m.content, *(c.name + c.arguments for c in m.tool_calls))]
    sent = sum(len(text.encode()) for text in (*texts, system or "")) + len(msgspec.json.encode(offered)) * tools
    assert input_bound(spec) >= sent + 16 * len(given_messages)
    if any(message.tool_calls for message in given_messages) and not tools:
        assert input_bound(spec) >= sent + 1024, "what a provider says of tools once they were called"
    stored = Blob("0" * 64, len(msgspec.json.encode(given_messages)), "application/json")
    assert input_bound(TaskSpec(input=stored)) >= input_bound(TaskSpec(input=given_messages)) - 16


@given(specs, prices, purses, st.lists(st.integers(0, 2**32), min_size=1, max_size=5))
def test_how_probable_each_backend_is(spec, prices, purse, seeds):
    """Whatever is assigned was possible; where nothing is, it was possible that nothing would be."""
    view, task = world(prices), Task("t", Status.SUBMITTED, spec)
    told = chances(task, view, RULES, NOW, purse)[1]
    assert sum(told.values()) <= 1_000_000
    for seed in seeds:
        verdict = fund(task, view, RULES, NOW, seed, purse).verdict
        if isinstance(verdict, Assigned):
            assert told[verdict.backend] > 0
        else:
            assert sum(told.values()) < 1_000_000
