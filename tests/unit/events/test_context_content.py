"""What is in a context with what it was forked from: shown, compared, merged."""

from generators.context_changes import operations
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.chat import ToolCall
from callboard.events.context import Changed, Compacted, Context, Drop, Forked, Merged, Put, Say, decide, evolve
from callboard.events.context_content import Content, content_of, difference, older, plan
from callboard.events.task_spec import Blob

changes = st.lists(operations(), max_size=5)


class Pair:
    """A context and a fork of it, each with all the states that it was in."""

    def __init__(self, before) -> None:
        self.parent = [Context("p")]
        for each in before:
            self.tell(self.parent, Changed(self.parent[-1].version, each))
        self.at = self.parent[-1]
        self.fork = [Context("f")]
        self.tell(self.fork, Forked("p", self.at.version, self.at.messages))

    def tell(self, line: list[Context], wish) -> None:
        for event in decide(line[-1], wish):
            line.append(evolve(line[-1], event))

    def change(self, line: list[Context], drawn) -> None:
        for each in drawn:
            self.tell(line, Changed(line[-1].version, each))

    def content(self, line: list[Context], version: int | None = None) -> Content:
        context = line[-1 if version is None else version]
        return content_of([self.at, context] if line is self.fork else [context])

    def merge(self, line: list[Context], prefer) -> Merged:
        """Into this one, as the actor does it."""
        other = self.fork if line is self.parent else self.parent
        since = line[-1].merged.get(other[-1].id) or (1 if other is self.fork else self.at.version)
        seen = other[-1].merged.get(line[-1].id) or (1 if line is self.fork else self.at.version)
        ours, theirs = self.content(line), self.content(other)
        planned = plan(ours, theirs, self.content(other, since), self.content(line, seen), prefer)
        merged = Merged(other[-1].id, theirs.version, since, ours.version, *planned, prefer)
        self.tell(line, merged)
        return merged


def known(content: Content) -> dict:
    return {key: fact.value for key, fact in content.facts.items()}


@given(changes, changes, changes, st.sampled_from(["ours", "theirs"]))
def test_a_merge_takes_over_what_only_the_other_has_changed(before, here, there, prefer):
    """Key by key as a merge of three sides does it; what both changed to something else is told, and as preferred."""
    pair = Pair(before)
    base = known(pair.content(pair.parent))
    pair.change(pair.parent, here)
    pair.change(pair.fork, there)
    ours, theirs = known(pair.content(pair.parent)), known(pair.content(pair.fork))
    merged, after = pair.merge(pair.parent, prefer), known(pair.content(pair.parent))
    for key in base | ours | theirs:
        our, their, was = ours.get(key), theirs.get(key), base.get(key)
        differ = len({our, their, was}) == 3
        assert any(each.key == key for each in merged.disagreements) == differ
        expected = {"ours": our, "theirs": their}[prefer] if differ else (our if their == was else their)
        assert after.get(key) == expected


@given(changes, st.lists(st.tuples(changes, changes, st.booleans()), min_size=1, max_size=3))
def test_merged_both_ways_both_know_and_say_the_same(before, rounds):
    """However often: each message once on either side, and nothing that was settled is a disagreement again."""
    pair = Pair(before)
    for here, there, fork_first in rounds:
        pair.change(pair.parent, here)
        pair.change(pair.fork, there)
        first, second = (pair.fork, pair.parent) if fork_first else (pair.parent, pair.fork)
        pair.merge(first, "theirs")
        assert not pair.merge(second, None).disagreements
        one, other = pair.content(pair.parent), pair.content(pair.fork)
        assert known(one) == known(other)
        assert sorted(one.origins) == sorted(other.origins)
        assert len(set(one.origins)) == len(one.origins)
        assert not pair.merge(first, None).operations


@given(changes, changes)
def test_a_difference_leads_from_one_to_the_other(before, later):
    """What was said, put and dropped, and nothing else."""
    pair = Pair(before)
    pair.change(pair.fork, later)
    old, new = pair.content(pair.parent), pair.content(pair.fork)
    found = difference(old, new)
    assert old.messages + found.said == new.messages
    facts = {key: value for key, value in known(old).items() if key not in found.dropped}
    assert facts | {put.key: put.value for put in found.put} == known(new)
    assert difference(new, new) == ((), (), ())


def test_a_fork_is_shown_with_its_own_summaries():
    """A summary is seen in place of its messages, which are still there; a later one takes in the parent's."""
    pair = Pair([tuple(Say("user", f"number {number}") for number in range(6))])
    pair.tell(pair.parent, Compacted(1, 2, "two of them"))
    fork = [Context("f")]
    pair.tell(fork, Forked("p", pair.parent[-1].version, 6))
    pair.tell(fork, Changed(1, (Say("assistant", "more"),)))
    content = content_of([pair.parent[-1], fork[-1]])
    assert [getattr(each, "summary", "") or each.content for each in content.shown()] == [
        *("number 0", "two of them", "number 3", "number 4", "number 5", "more")
    ]
    pair.tell(fork, Compacted(0, 4, "five of them"))
    content = content_of([pair.parent[-1], fork[-1]])
    assert [getattr(each, "summary", "") or each.content for each in content.shown()] == [
        *("five of them", "number 5", "more")
    ]
    assert len(content.messages) == 7
    assert content.origins == (*(f"p:{number}" for number in range(6)), "f:6")


def test_tokens_are_those_that_are_shown():
    """About a quarter of the characters, also of what lies in the blob store, and of what tools are called with."""
    calls = (ToolCall("1", "look_up", '{"what": "' + "x" * 400 + '"}'),)
    messages = (Say("user", "word " * 400), Say("user", Blob("ab" * 32, 80_000)), Say("assistant", "", calls))
    context = evolve(Context("c"), Changed(0, messages))
    whole = content_of([context]).tokens
    assert 20_000 + 500 + 100 <= whole <= 20_000 + 500 + 150
    short = content_of([evolve(context, Compacted(0, 1, "a lot"))]).tokens
    assert 100 <= short <= 150


def test_what_was_dropped_is_no_longer_known():
    """Here, and in a fork that drops what its parent knows."""
    pair = Pair([(Put("a", 1), Put("b", 2))])
    pair.change(pair.fork, [(Drop("a"),)])
    assert known(pair.content(pair.fork)) == {"b": 2}
    assert known(pair.content(pair.parent)) == {"a": 1, "b": 2}


def test_what_is_older_is_whole():
    """It keeps calls with their answers, takes in summaries as a whole, and leaves about so many tokens."""
    call = ToolCall("c", "look", "{}")
    said = [
        Say("user", "word " * 20),
        Say("assistant", "", (call,)),
        Say("tool", "seen", (), "c"),
        Say("user", "x " * 40),
    ]
    content = Content("a", 1, tuple(said))
    assert older(content, 10) == (0, 2)
    assert older(content, 25) in {(0, 2), None}
    assert older(Content("a", 1, tuple(said[:3])), 1) is None
    compacted = Compacted(0, 2, "so far", 20, "")
    assert older(Content("a", 1, tuple(said), compactions=(compacted,)), 10) is None
    longer = (*said, Say("user", "y " * 40))
    assert older(Content("a", 1, longer, compactions=(compacted,)), 10) == (0, 3)
