"""What a task looks like to the quality estimates."""

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.features import LONGEST, SIZE, TAGS, WORDS, features
from callboard.events.chat import Message
from callboard.events.task_spec import SHAPE_FEATURES, Blob, TaskSpec


@given(st.text(), st.lists(st.text(min_size=1, max_size=9), max_size=5))
def test_words_and_tags_are_vectors_of_length_one_or_zero(text, tags):
    """Each part, in hundredths; the first number always stands for 1."""
    first, *rest = array("b", features(TaskSpec(input=text or "x", tags=tuple(tags))))
    assert (first, 1 + len(rest)) == (100, SIZE)
    for part in (rest[:WORDS], rest[WORDS : WORDS + TAGS]):
        length = math.sqrt(sum(value * value for value in part))
        assert length == 0 or 95 < length < 105


def test_what_was_recorded_once_is_the_same_for_ever():
    """The same on every machine: estimates are learned from recorded features."""
    seen = array("b", features(TaskSpec(input="What is the capital of Portugal?", tags=("trivia",))))
    present = {place: value for place, value in enumerate(seen) if value}
    assert present == {0: 100, 24: -35, 35: 35, 39: -71, 47: 35, 59: -35, 65: -100, 81: -31, 83: 31, 84: 16, 85: -13}


def test_the_newest_message_is_what_counts():
    """Of a conversation its last turn; a text in the blob store is not read."""
    turns = (Message("user", "before"), Message("assistant", "so"), Message("user", "What is the capital?"))
    assert features(TaskSpec(input=turns)) == features(TaskSpec(input="What is the capital?"))
    assert not any(features(TaskSpec(input=Blob("ab" * 32, 70_000)))[1:])


def shape(text: str) -> tuple[int, ...]:
    """Length, digits, capitals, punctuation, length of words, lines, in hundredths."""
    return tuple(array("b", features(TaskSpec(input=text)))[-SHAPE_FEATURES:])


texts = st.text() | st.text("🙂é\n0A.", max_size=40) | st.sampled_from(["a" * 10**5, "word " * 10**5, "9\n" * 10**5])


@given(texts, st.lists(st.text(), max_size=5))
def test_every_number_is_within_one(text, tags):
    """Whatever is written, in any script and at any length: from -100 to 100, and the size is the same."""
    looks = array("b", features(TaskSpec(input=text, tags=tuple(tags))))
    assert len(looks) == SIZE
    assert min(looks) >= -100
    assert max(looks) <= 100


@pytest.mark.parametrize("text", ["", ()])
def test_no_text_has_no_shape(text):
    """An empty input, or a conversation without turns, is only the constant."""
    assert features(TaskSpec(input=text)) == bytes([100]) + bytes(SIZE - 1)


def test_the_shape_tells_prose_from_sums_and_code_and_lists():
    """Each of the numbers rises with what it counts."""
    prose = "please write a friendly letter to somebody who moved away a while ago"
    length, digits, capitals, punctuation, words, lines = shape(prose)
    assert (digits, capitals, punctuation, lines) == (0, 0, 0, 0)
    assert shape(prose * 5)[0] > length
    assert shape(prose + " 1234567 + 7654321")[1] > digits
    assert shape(prose.upper())[2] == 100
    assert shape(prose.replace(" ", "(); "))[3] > punctuation
    assert shape("incomprehensibilities notwithstanding")[4] > words
    assert shape(prose.replace(" ", "\n"))[5] == round(100 * 12 / 20) > lines


def test_a_smile_has_a_shape_and_no_words():
    """Characters outside any word and class are just a length; letters of any script are words."""
    assert shape("🙂") == (-100, 0, 0, 0, -100, 0)
    assert not any(features(TaskSpec(input="🙂"))[1 : 1 + WORDS])
    assert any(features(TaskSpec(input="καλημέρα"))[1 : 1 + WORDS])


def test_what_stands_far_behind_is_not_looked_at():
    """Only the text's beginning counts."""
    start = "x" * (LONGEST - 1) + " "
    assert features(TaskSpec(input=start + "word 99")) == features(TaskSpec(input=start))
    assert features(TaskSpec(input=start[:50] + "word 99")) != features(TaskSpec(input=start[:50]))
