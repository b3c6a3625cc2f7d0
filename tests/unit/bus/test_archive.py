"""Segments of the archive: what is written is read again, byte for byte, and whatever is wrong is told."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard.bus.archive import segment
from callboard.bus.archive.folder import Archive
from callboard.bus.errors import NotFound
from callboard.bus.log import Record

EVENT = (
    b'{"specversion":"1.0","id":"e-%d","type":"callboard.task.assigned.v1","source":"router#1","subject":"task/t",'
    b'"time":"2026-01-02T03:04:05.000006Z","version":%d,"prevhash":"","data":{"text":"%s"}}'
)

texts = (
    st.text(max_size=20)
    .map(lambda text: text.replace("\\", "").replace('"', ""))
    .map(lambda text: "".join(c for c in text if c >= " ").encode("utf-8", "ignore"))
)
events = st.builds(lambda n, v, text: EVENT % (n, v, text), st.integers(0, 9), st.integers(-(2**63), 2**64), texts)
spaced = events.map(lambda event: event.replace(b'","', b'" , "').replace(b"{", b"{ "))
messages = st.one_of(
    events,
    spaced,
    st.builds(lambda each, gap: b"[" + (b"," + gap).join(each) + b"]", st.lists(events, max_size=4), st.just(b"")),
    st.builds(lambda each, gap: b"[" + (b"," + gap).join(each) + b" ]", st.lists(spaced, max_size=4), st.just(b" ")),
    st.binary(max_size=50),
    st.sampled_from([b"", b"{}", b"[]", b"[{}]", b"null", b'"text"', b"[" * 50, b'{"id":"\\ud800"}', b"\xff\xfe"]),
    st.just(EVENT.replace(b"2026-01-02T03:04:05.000006Z", b"0001-01-01T00:00:00+14:00") % (1, 1, b"")),
    st.just(EVENT.replace(b"2026-01-02T03:04:05.000006Z", b"2026-01-02T03:04:05") % (1, 1, b"")),
    st.just(EVENT.replace(b"router#1", b"\\ud800") % (1, 1, b"")),
)
subjects = st.sampled_from(
    [
        "evt.7.task.07-A.assigned.deepseek",
        "evt.7.task.07-A.completed",
        "evt.63.agent.x_y.sent",
        "evt.x.y.z.w",
        "evt.1.a.b.c",
    ]
)
stored = st.lists(st.tuples(subjects, messages, st.integers(0, 2**63 - 1)), min_size=1, max_size=12)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def records_of(parts, first: int = 1) -> list[Record]:
    return [Record(seq, subject, data, time) for seq, (subject, data, time) in enumerate(parts, first)]


def simple(number: int, first: int = 1) -> list[Record]:
    return [
        Record(seq, f"evt.{seq % 7}.task.t{seq % 50}.assigned", EVENT % (seq, seq, b"x" * (seq % 9)), 1000 + seq)
        for seq in range(first, first + number)
    ]


def everything(archive: Archive, after: int = 0, **kwargs) -> list[Record]:
    return [record for records in archive.records(after, **kwargs) for record in records]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(segment, "GROUP_ROWS", 16)


def filled(folder: Path, *sizes: int) -> list[Record]:
    """Segments of so many messages each."""
    folder.mkdir(exist_ok=True)
    whole: list[Record] = []
    for size in sizes:
        records = simple(size, len(whole) + 1)
        segment.write(folder, len(whole) + 1, [records[:5], records[5:]])
        whole += records
    return whole


@given(parts=stored)
@quick
def test_what_is_written_is_read_again(tmp_path_factory, parts):
    """Whatever the messages are: events, several in one, other white space, what is no event, no text, no time."""
    folder, records = tmp_path_factory.mktemp("archive"), records_of(parts)
    made = segment.write(folder, 1, [records])
    archive = Archive(folder)
    assert archive.refresh() == len(records)
    assert everything(archive) == records
    for name in {record.subject.rsplit(".", len(record.subject.split(".")) - 4)[0] for record in records}:
        assert archive.read(name) == [record for record in records if record.subject.startswith(f"{name}.")]
    assert archive.pick([len(records), 1]) == [records[-1], records[0]]
    assert list(archive.verify()) == [made]


def test_the_largest_messages(folder):
    """Messages of 256 KiB make row groups that end sooner: no more than some are in memory at a time."""
    folder.mkdir()
    records = [Record(seq, "evt.1.task.t.x", bytes([seq]) * 256 * 1024, 5) for seq in range(1, 150)]
    segment.write(folder, 1, [records])
    archive = Archive(folder)
    archive.refresh()
    sizes = [len(batch) for batch in archive.records()]
    assert sizes == [64, 64, 21]
    assert everything(archive) == records


def test_a_folder_is_read_from_anywhere(folder, small_groups):
    """After any sequence, up to any, on some subjects alone; over segments and row groups."""
    whole = filled(folder, 40, 1, 60)
    archive = Archive(folder)
    assert archive.refresh() == 101
    for after in (0, 1, 15, 16, 39, 40, 41, 100, 101):
        assert everything(archive, after) == whole[after:]
        assert everything(archive, after, upto=50) == whole[after:50]
    wanted = everything(archive, 3, wanted=lambda subject: ".t7." in subject)
    assert [record.seq for record in wanted] == [7, 57]
    assert [record.seq for record in archive.read("evt.1.task.t8")] == [8]
    assert [record.seq for record in archive.read("evt.1.task.t8", after=8)] == []
    with pytest.raises(NotFound):
        archive.pick([1, 102])
