"""The NATS protocol as bytes."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from callboard.bus.frames import Scanner, block, description, header, status

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([b"a.b", b"_INBOX.x.1"]),
        st.sampled_from([b"", b"r.1"]),
        st.sampled_from([b"", b"NATS/1.0 408 Request Timeout\r\n\r\n", block(Nats_Expected="7")]),
        st.binary(max_size=40),
    ),
    max_size=8,
)


def frame(subject: bytes, reply: bytes, headers: bytes, data: bytes) -> bytes:
    sizes = b"%d %d" % (len(headers), len(headers) + len(data)) if headers else b"%d" % len(data)
    words = [b"HMSG" if headers else b"MSG", subject, b"1", *([reply] if reply else []), sizes]
    return b" ".join(words) + b"\r\n" + headers + data + b"\r\n"


@given(MESSAGES, st.lists(st.integers(0, 400)))
def test_messages_come_whole_however_they_are_cut(messages, cuts):
    """Wherever the stream is cut into reads, each message is delivered once, whole and in order; so are other lines."""
    seen, failed = [], []
    scanner = Scanner({b"1": lambda *message: seen.append(message)}, failed.append)
    stream = b"PING\r\n".join(frame(*message) for message in messages) + b"+OK\r\n"
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    lines = [line for start, stop in itertools.pairwise(edges) for line in scanner.feed(stream[start:stop])]
    assert seen == messages
    assert lines == [b"PING"] * max(0, len(messages) - 1) + [b"+OK"]
    assert not failed


def test_a_receiver_that_fails_loses_only_its_message():
    """An error in a receiver is told, and the next message is delivered."""
    seen, failed = [], []

    def receive(*message) -> None:
        seen.append(message[3])
        if message[3] == b"bad":
            raise ValueError

    scanner = Scanner({b"1": receive}, failed.append)
    scanner.feed(frame(b"a", b"", b"", b"bad") + frame(b"a", b"", b"", b"good"))
    assert seen == [b"bad", b"good"]
    assert len(failed) == 1


def test_messages_for_nobody_are_dropped():
    """After an unsubscription late messages are skipped."""
    scanner = Scanner({}, lambda _: None)
    assert scanner.feed(frame(b"a", b"", b"", b"x") + b"PING\r\n") == [b"PING"]


def test_headers():
    """Status, description and values are read off the block as the server writes it."""
    told = b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 12\r\nNats-Pending-Bytes: 0\r\n\r\n"
    assert (status(told), description(told)) == (409, "Message Size Exceeds MaxBytes")
    assert header(told, b"Nats-Pending-Messages") == b"12"
    assert header(told, b"Nats-Sequence") == b""
    assert status(block(Nats_Schedule="@at x")) == 0
    assert header(block(Nats_Schedule="@at x"), b"Nats-Schedule") == b"@at x"
