"""What a task looks like to the quality estimates."""

import math
from array import array

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.features import SIZE, WORDS, features
from callboard.events.chat import Message
from callboard.events.task_spec import Blob, TaskSpec


@given(st.text(), st.lists(st.text(min_size=1, max_size=9), max_size=5))
def test_words_and_tags_are_vectors_of_length_one_or_zero(text, tags):
    """Each part, in hundredths; the first number always stands for 1."""
    first, *rest = array("b", features(TaskSpec(input=text or "x", tags=tuple(tags))))
    assert (first, 1 + len(rest)) == (100, SIZE)
    for part in (rest[:WORDS], rest[WORDS:]):
        length = math.sqrt(sum(value * value for value in part))
        assert length == 0 or 95 < length < 105


def test_what_was_recorded_once_is_the_same_for_ever():
    """The same on every machine: estimates are learned from recorded features."""
    seen = array("b", features(TaskSpec(input="What is the capital of Portugal?", tags=("trivia",))))
    present = {place: value for place, value in enumerate(seen) if value}
    assert present == {0: 100, 24: -35, 35: 35, 39: -71, 47: 35, 59: -35, 65: -100}


def test_the_newest_message_is_what_counts():
    """Of a conversation its last turn; a text in the blob store is not read."""
    turns = (Message("user", "before"), Message("assistant", "so"), Message("user", "What is the capital?"))
    assert features(TaskSpec(input=turns)) == features(TaskSpec(input="What is the capital?"))
    assert not any(features(TaskSpec(input=Blob("ab" * 32, 70_000)))[1:])
