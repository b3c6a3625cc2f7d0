"""What may happen to a context: clashes are found, nothing is lost, summaries hold what belongs together."""

import pytest
from generators.context_changes import operations
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.chat import ToolCall
from callboard.events.context import (
    Changed,
    Compacted,
    Context,
    Drop,
    Forked,
    Merged,
    Put,
    Say,
    decide,
    evolve,
    unpaired,
)
from callboard.events.errors import Clash, IllegalTransition, InvalidInput


def after(context: Context, *wishes) -> Context:
    for wish in wishes:
        for event in decide(context, wish):
            context = evolve(context, event)
    return context


def said(*texts: str) -> Context:
    return after(Context("c"), *(Changed(number, (Say("user", text),)) for number, text in enumerate(texts)))


@given(st.lists(st.tuples(operations(), st.integers(0, 5)), max_size=25))
def test_a_change_clashes_exactly_when_its_keys_have_changed(drawn):
    """What is not refused happens as if there were nobody else; what is refused changes nothing."""
    context, known, messages, changed_at = Context("c"), {}, [], {}
    for given_operations, behind in drawn:
        base = max(context.version - behind, 0)
        wanted = dict(known)
        lasting = {each.key: each for each in given_operations if not isinstance(each, Say)}
        for key, each in lasting.items():
            if isinstance(each, Put):
                wanted[key] = each.value
            else:
                wanted.pop(key, None)
        if newer := {key for key in lasting if changed_at.get(key, 0) > base}:
            with pytest.raises(Clash) as clash:
                after(context, Changed(base, given_operations))
            assert set(clash.value.keys) == newer
            continue
        context = after(context, Changed(base, given_operations))
        differs = {key for key in lasting if wanted.get(key) != known.get(key)}
        known = wanted
        messages += [each.content for each in given_operations if isinstance(each, Say)]
        changed_at |= dict.fromkeys(differs, context.version)
        assert {key: fact.value for key, fact in context.facts.items() if not fact.dropped} == known
        assert [each.message.content for each in context.said] == messages


def test_the_same_cause_changes_it_once():
    """A step that is repeated after a crash has no second effect, also when it says something else."""
    context = after(Context("c"), Changed(0, (Say("user", "hi"),), cause="step-1"))
    assert after(context, Changed(1, (Say("user", "hi again"),), cause="step-1")) == context
    assert after(context, Changed(1, (Say("user", "hi again"),), cause="step-2")).messages == 2


def test_of_one_key_the_last_operation_counts():
    """Whatever came before it in the same change."""
    context = after(Context("c"), Changed(0, (Put("a", 1),)))
    assert after(context, Changed(1, (Put("a", 2), Put("a", 1)))) == context
    assert after(context, Changed(1, (Drop("a"), Put("a", 3)))).facts["a"].value == 3


@pytest.mark.parametrize("base", [-1, 2])
def test_a_change_needs_a_version_that_there_was(base):
    """Else it was decided on something else."""
    with pytest.raises(InvalidInput, match=f"context c has no version {base}: it is at 1"):
        decide(said("one"), Changed(base, (Say("user", "two"),)))


def test_a_fork_is_a_beginning():
    """It can be said again, and nothing that exists becomes a fork."""
    fork = after(Context("f"), Forked("c", 3, 2))
    assert (fork.parent, fork.at, fork.messages) == ("c", 3, 2)
    assert after(fork, Changed(1, (Say("user", "more"),)), Forked("c", 3, 2)).messages == 3
    for taken in (fork, said("one")):
        with pytest.raises(IllegalTransition, match="exists: a fork needs an id that is not taken"):
            decide(taken, Forked("other", 1, 0))


def test_a_fork_forgets_what_its_parent_knows():
    """A drop is kept although the fork's own part knows nothing of the key; elsewhere it says nothing."""
    fork = after(Context("f"), Forked("c", 3, 2), Changed(1, (Drop("a"),)))
    assert fork.facts["a"].dropped
    assert decide(said("one"), Changed(1, (Drop("a"),))) == []


def test_a_merge_is_done_once_and_on_what_it_was_planned_on():
    """An older one says nothing new; one that was planned before another is planned again."""
    context = after(said("one"), Merged("f", 5, 1, 1, (Put("a", 1),)))
    assert decide(context, Merged("f", 4, 1, 2, (Put("a", 2),))) == []
    with pytest.raises(Clash, match="f was merged up to 5 meanwhile"):
        decide(context, Merged("f", 6, 1, 1, (Say("user", "x"),)))
    with pytest.raises(Clash, match="a changed after version 1"):
        decide(context, Merged("f", 6, 5, 1, (Put("a", 2),)))
    assert after(context, Merged("f", 6, 5, 2, (Put("a", 2),))).merged["f"] == 6


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_summaries_never_cross(ranges):
    """They are apart, in order, and each message is in one of them at most; what is refused says why."""
    context = said(*(str(number) for number in range(10)))
    for first, last in ranges:
        crosses = any(
            first <= each.last and each.first <= last and not (first <= each.first and each.last <= last)
            for each in context.compactions
        )
        if crosses or last < first or last > 9:
            with pytest.raises(InvalidInput, match=f"context c: messages {first} to {last}"):
                decide(context, Compacted(first, last, "in short"))
            continue
        context = after(context, Compacted(first, last, "in short"))
        numbers = [n for each in context.compactions for n in range(each.first, each.last + 1)]
        assert numbers == sorted(set(numbers))
    assert context.messages == 10


def test_a_summary_keeps_calls_and_their_answers_together():
    """Else a model would be shown an answer to nothing, or a call that is never answered."""
    calls = (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
    messages = (
        Say("user", "go"),
        Say("assistant", "", calls),
        Say("tool", "one", tool_call_id="1"),
        Say("user", "wait"),
        Say("tool", "two", tool_call_id="2"),
        Say("assistant", "done"),
    )
    context = after(Context("c"), Changed(0, messages))
    for first, last in ((0, 1), (2, 3), (0, 3), (4, 5)):
        with pytest.raises(InvalidInput, match=f"messages {first} to {last} cut tool calls from their answers"):
            decide(context, Compacted(first, last, "in short"))
    for first, last in ((0, 0), (1, 4), (0, 5), (5, 5)):
        assert after(context, Compacted(first, last, "in short")).compactions[0].last == last
    assert unpaired(messages[:3]) == ("2",)
    assert unpaired(messages[4:]) == ("2",)


def test_the_same_summary_is_made_once():
    """A repeated step finds it done."""
    context = after(said("one", "two"), Compacted(0, 1, "in short"))
    assert decide(context, Compacted(0, 1, "in short")) == []
