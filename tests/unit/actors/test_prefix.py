"""The prefix of a prompt, as marks."""

from itertools import takewhile

from hypothesis import example, given
from hypothesis import strategies as st

from callboard.actors.router.prefix import CHARACTERS, prefix_of
from callboard.events.chat import Message, Tool
from callboard.events.prefix import MARK, PLACES, marks
from callboard.events.task_spec import Blob, TaskSpec

LONG = "All work and no play. " * 2000


def shared(one: TaskSpec, other: TaskSpec) -> int:
    """How many marks, from the first on, are the same."""
    pairs = zip(marks(prefix_of(one)), marks(prefix_of(other)), strict=False)
    return next(
        (n for n, (a, b) in enumerate(pairs) if a != b), min(len(prefix_of(one)), len(prefix_of(other))) // MARK
    )


def test_places_are_few_and_reach_far():
    """Each of the first eight blocks, four in every doubling, up to half a million tokens."""
    assert PLACES[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
    assert PLACES[-1] == 1024
    assert list(PLACES) == sorted(set(PLACES))
    assert len(PLACES) == 36


@given(st.text(max_size=3 * CHARACTERS), st.text(max_size=3 * CHARACTERS), st.integers(0, 4 * CHARACTERS))
@example("0" * 17, "0" * 17, CHARACTERS - len("user\x1f") - 17)
def test_equal_marks_mean_an_equal_beginning(one, other, length):
    """Two prompts share exactly the marks that end within what they share."""
    texts = LONG[:length] + one + "a", LONG[:length] + other + "b"
    same = len("user\x1f") + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False)))
    number = shared(*(TaskSpec(input=text) for text in texts))
    assert number == sum(place * CHARACTERS <= same for place in PLACES)


def test_a_conversation_goes_on_where_it_was():
    """The next turn begins with all of the turn before it."""
    turns = (Message("user", LONG), Message("assistant", LONG), Message("user", "And then?"))
    before, after = TaskSpec(input=turns[:1], system="Be brief."), TaskSpec(input=turns, system="Be brief.")
    assert shared(before, after) == len(marks(prefix_of(before))) > 8
    assert prefix_of(TaskSpec(input=LONG)) == prefix_of(TaskSpec(input=(Message("user", LONG),)))


def test_tools_come_before_the_system_prompt():
    """Other tools, or another schema, are another prompt from the start."""
    tool = Tool("now", LONG[:5000], {"type": "object"})
    with_tool = TaskSpec(input="x", system=LONG, tools=(tool,))
    assert shared(with_tool, TaskSpec(input="y", system="z", tools=(tool,))) == 2
    assert shared(with_tool, TaskSpec(input="x", system=LONG)) == 0
    assert shared(TaskSpec(input=LONG), TaskSpec(input=LONG, schema={"type": "object"})) == 0


def test_what_is_in_the_blob_store_is_not_read():
    """Only what comes before it has marks."""
    assert prefix_of(TaskSpec(input=Blob("ab" * 32, 10**6))) == b""
    assert len(prefix_of(TaskSpec(input=Blob("ab" * 32, 10**6), system=LONG[: 2 * CHARACTERS]))) == 2 * MARK
