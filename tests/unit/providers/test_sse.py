from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.backend.providers.sse import EVENT_LIMIT, Event, EventParser


def events(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + list(parser.end())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_ends_a_line(end):
    """LF, CRLF and CR are the same."""
    assert events(end.join([b"event: a", b"data: 1", b"", b"data: 2", b"", b""])) == [Event("a", "1"), Event("", "2")]


def test_what_is_not_an_event_is_left_out():
    """Comments, unknown fields, a byte order mark and events without data are no events."""
    stream = b"\xef\xbb\xbfdata: x\n\n: ping\n\nid: 7\nretry: 5\nwhatever\n\nevent: lonely\n\ndata:y\n\n"
    assert events(stream) == [Event("", "x"), Event("", "y")]


def test_data_of_several_lines_is_joined():
    """Several data lines are one text with line breaks; only one leading space is dropped."""
    assert events(b"data: a\ndata:  b\ndata\n\n") == [Event("", "a\n b\n")]


def test_the_last_event_needs_no_blank_line():
    """A stream that ends after a line still gives its event."""
    assert events(b"data: [DONE]") == events(b"data: [DONE]\n") == [Event("", "[DONE]")]


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=("Cs",))), min_size=1),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.integers(1, 5),
)
def test_where_chunks_are_cut_does_not_matter(texts, end, size):
    """The same bytes give the same events in pieces of any size, even within a character."""
    stream = b"".join(b"data: " + text.encode() + end + end for text in texts)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert events(*pieces) == events(stream) == [Event("", text) for text in texts]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"x" * 1000])
def test_an_endless_event_is_refused(line):
    """More than the limit in one event, in many lines or in one, is malformed."""
    parser = EventParser()
    with pytest.raises(ProviderError, match="more than 4 MiB") as caught:
        list(chain.from_iterable(parser.feed(line) for _ in range(EVENT_LIMIT // 1000 + 1)))
    assert caught.value.kind is FailureKind.MALFORMED


def test_many_events_are_no_large_event():
    """The limit counts anew with each event."""
    parser = EventParser()
    half = b"data: " + b"x" * (EVENT_LIMIT // 2) + b"\n\n"
    assert sum(len(list(parser.feed(half))) for _ in range(4)) == 4
