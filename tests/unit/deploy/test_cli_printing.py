import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.outcome import Outcome
from callboard.deploy.cli.printing import harmless, one_line, took, usd, whole
from callboard.events.task import Status


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (21, "$0.000021"),
        (1_200_000, "$1.20"),
        (1_234_567_890_000, "$1,234,567.89"),
        (-5, "-$0.000005"),
    ],
)
def test_money_is_shown_exactly(micros, text):
    """No digit of a micro-dollar amount is lost or added."""
    assert usd(micros) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, ""),
        (42_000, "0.04 ms"),
        (3_140_000, "3.1 ms"),
        (804_000_000, "804 ms"),
        (2_400_000_000, "2.40 s"),
        (303_000_000_000, "5 min 3 s"),
    ],
)
def test_durations_are_shown_in_a_fitting_unit(ns, text):
    """Milliseconds, seconds or minutes, with about three digits."""
    assert took(ns) == text


@given(st.text(), st.integers(2, 100))
def test_text_from_others_stays_on_its_line(text, width):
    """Whatever a task holds: one line, no control characters, no wider than asked."""
    line = one_line(text, width)
    assert len(line) <= width
    assert line.isprintable()


@given(st.text())
def test_an_answer_cannot_move_the_cursor(text):
    """Line breaks and tabs stay, all other control characters go."""
    assert all(c.isprintable() or c in "\n\t" for c in harmless(text))


def test_json_has_fields_that_are_at_their_default():
    """A struct that leaves out defaults on the wire shows all of its fields here."""
    told = whole([Outcome("t", Status.REJECTED, reason="no")])
    assert told[0]["cost"] == 0
    assert told[0]["usage"] == {"input": 0, "output": 0, "cached": 0}
    assert told[0].keys() == set(Outcome.__struct_fields__)
