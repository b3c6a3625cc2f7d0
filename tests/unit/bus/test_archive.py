"""Segments of the archive: what is written is read again, byte for byte, and whatever is wrong is told."""

import random
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard.bus.archive import manifest, segment
from callboard.bus.archive.disk import locked
from callboard.bus.archive.folder import Archive
from callboard.bus.archive.parquet import File
from callboard.bus.archive.rows import NEEDED, records
from callboard.bus.errors import Damaged, NotFound, NotInstalled
from callboard.bus.filters import kinds_of
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
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def test_a_filtered_read_does_not_mix_up_messages(folder, small_groups):
    """Messages of several events stay whole when only some are wanted."""
    folder.mkdir()
    several = b"[" + b",".join(EVENT % (number, number, b"") for number in range(7)) + b"]"
    records = [Record(seq, f"evt.1.task.t{seq % 3}.x", several, 9) for seq in range(1, 40)]
    segment.write(folder, 1, [records])
    archive = Archive(folder)
    archive.refresh()
    wanted = [record for record in records if record.seq % 3 == 1]
    assert everything(archive, wanted=lambda subject: ".t1." in subject) == wanted
    assert archive.read("evt.1.task.t1") == wanted


ALTERATIONS = {
    "a byte": lambda data, dice: _with(
        data, place := dice.randrange(len(data)), bytes([data[place] ^ 1 << dice.randrange(8)])
    ),
    "a byte more": lambda data, dice: _with(data, place := dice.randrange(len(data)), data[place : place + 1] + b"\0"),
    "cut off": lambda data, dice: data[: dice.randrange(len(data))],
    "zeros": lambda data, dice: _with(data, dice.randrange(len(data)), bytes(dice.randrange(1, 600))),
    "exchanged": lambda data, dice: data[(place := dice.randrange(1, len(data))) :] + data[:place],
}


def _with(data: bytes, place: int, part: bytes) -> bytes:
    return (
        data[:place] + part + data[place + 1 :] if len(part) < 3 else (data[:place] + part + data[place + len(part) :])
    )


@pytest.mark.parametrize("kind", ALTERATIONS)
@pytest.mark.parametrize("suffix", [".parquet", ".json", ".index"])
def test_no_alteration_is_read(folder, small_groups, kind, suffix):
    """A file that is altered in any way is told of, by its segment; an index is made anew."""
    whole, dice = filled(folder, 60, 30), random.Random(f"{kind}{suffix}")
    file = min(folder.glob(f"*{suffix}"))
    good = file.read_bytes()
    for _ in range(12):
        bad = ALTERATIONS[kind](good, dice)
        if bad == good:
            continue
        file.write_bytes(bad)
        if suffix == ".index":
            assert fresh(folder).read("evt.1.task.t1") == [whole[0]]
            assert len(list(fresh(folder).verify())) == 2
            continue
        for use in (everything, lambda archive: archive.read("evt.1.task.t1"), lambda archive: list(archive.verify())):
            with pytest.raises(Damaged, match=file.stem) as told:
                use(fresh(folder))
            assert "\n" not in str(told.value)
        file.write_bytes(good)
    assert everything(fresh(folder)) == whole


def fresh(folder: Path) -> Archive:
    archive = Archive(folder)
    archive.refresh()
    return archive


def test_a_file_that_changes_while_it_is_read(folder, small_groups):
    """It is looked at again whenever it has changed."""
    whole = filled(folder, 60)
    archive = fresh(folder)
    assert everything(archive) == whole
    (file,) = folder.glob("*.parquet")
    good = file.read_bytes()
    file.write_bytes(good[:100] + b"\xff" + good[101:])
    with pytest.raises(Damaged, match="altered"):
        everything(archive)


def test_a_page_has_a_checksum_of_its_own(folder, small_groups):
    """Who does not look at the whole file first, as other tools, still notices a flipped bit in what is stored."""
    whole = filled(folder, 60)
    (file,) = folder.glob("*.parquet")
    good = file.read_bytes()
    noticed = 0
    for place in range(4, len(good) // 2, 97):
        file.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        try:
            opened = File(file)
            found = [record for group in opened.groups for record in records(opened.read(group, NEEDED), "x")]
        except Damaged:
            noticed += 1
        else:
            assert found == whole  # it was in a column that is not read
    assert noticed


@pytest.mark.parametrize("field", ["messages", "events", "rows", "min_time_ns", "max_time_ns"])
def test_every_field_of_a_manifest_is_verified(folder, field):
    """One that says something else of the same file is told of."""
    filled(folder, 30)
    (path,) = folder.glob("*.json")
    stated = manifest.read(path)
    path.write_bytes(manifest.dump(msgspec.structs.replace(stated, **{field: getattr(stated, field) + 1})))
    with pytest.raises(Damaged, match=field if field != "messages" else "altered"):
        list(fresh(folder).verify())


def test_a_manifest_has_one_form(folder):
    """The same in other bytes is an alteration, and so is a file under another name."""
    filled(folder, 30)
    (path,) = folder.glob("*.json")
    good = path.read_bytes()
    path.write_bytes(good + b"\n")
    with pytest.raises(Damaged, match="altered"):
        fresh(folder)
    path.unlink()
    (folder / "events-000000000001-000000000031.json").write_bytes(good)
    with pytest.raises(Damaged, match="altered"):
        fresh(folder)


def test_a_column_that_lies(folder, monkeypatch):
    """Columns are for queries: one that does not say what the event says is told of, with the message's sequence."""
    folder.mkdir()
    real = segment.rows_of
    monkeypatch.setattr(
        segment, "rows_of", lambda record: [row._replace(event="x") if row.seq == 7 else row for row in real(record)]
    )
    segment.write(folder, 1, [simple(30)])
    monkeypatch.setattr(segment, "rows_of", real)
    with pytest.raises(Damaged, match="a column of the message at 7"):
        list(fresh(folder).verify())


def test_segments_join(folder):
    """A gap and an overlap are told of, by the segment; what is gone from the end, by who has seen it."""
    filled(folder, 10, 10, 10)
    archive = fresh(folder)
    second = folder / "events-000000000011-000000000020.json"
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(Damaged, match=r"events-000000000021-000000000030: .*follows on a gap.* 11 "):
        fresh(folder)
    second.write_bytes(kept)
    with locked(folder):
        segment.write(folder, 15, [simple(10, 15)])
    with pytest.raises(Damaged, match=r"events-000000000015-000000000024: .*overlaps"):
        fresh(folder)
    for path in folder.glob("events-0000000000[12][15]*"):
        path.unlink()
    with pytest.raises(Damaged, match="from the message 11 on are gone"):
        archive.refresh()


def test_a_gap_is_not_archived(folder):
    """What is archived is dense."""
    folder.mkdir()
    with pytest.raises(Damaged, match="no message at 6"):
        segment.write(folder, 1, [simple(5), simple(5, 7)])
    with pytest.raises(Damaged, match="no message at 1"):
        segment.write(folder, 1, [])
    assert fresh(folder).end == 0
    segment.write(folder, 1, [simple(5)])
    assert {path.suffix for path in folder.iterdir()} == {".parquet", ".json", ".index"}


def test_a_segment_that_was_added_is_seen(folder):
    """By who looks whether the folder has changed, however shortly after it looked before."""
    filled(folder, 10)
    archive = fresh(folder)
    for first in range(11, 15):
        segment.write(folder, first, [simple(1, first)])
        assert archive.changed()
        assert archive.refresh() == first
    time.sleep(0.15)
    archive.refresh()
    assert not archive.changed()


def test_without_pyarrow(folder, monkeypatch):
    """One line says what to install; what the index tells is told all the same."""
    filled(folder, 10)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    archive = fresh(folder)
    assert archive.seqs("evt.1.task.t1") == [1]
    assert archive.seqs("evt.1.task.nobody") == []
    with pytest.raises(NotInstalled, match=r"pip install 'callboard\[archive\]'"):
        archive.read("evt.1.task.t1")


def test_other_tools_read_it(folder):
    """The columns are what the README says."""
    import duckdb

    filled(folder, 20, 10)
    paths = [str(path) for path in fresh(folder).paths()]
    found = duckdb.read_parquet(paths).filter("seq = 8").project("seq, shard, kind, entity, event, version, time")
    [row] = found.fetchall()
    assert row[:6] == (8, 1, "task", "t8", "assigned", 8)
    assert row[6].isoformat().startswith("2026-01-02T03:04:05.000006")


def test_row_groups_of_other_kinds_are_not_read(folder, small_groups, monkeypatch):
    """Who wants approvals alone does not wait for those of tasks."""
    folder.mkdir()
    kinds = ["task"] * 40 + ["approval", "task"] * 4 + ["task"] * 40
    each = [Record(seq, f"evt.1.{kind}.x{seq}.y", EVENT % (1, 1, b""), 9) for seq, kind in enumerate(kinds, 1)]
    segment.write(folder, 1, [each])
    reads: list[int] = []
    read = File.read
    monkeypatch.setattr(File, "read", lambda self, group, *rest: reads.append(group.number) or read(self, group, *rest))
    found = everything(fresh(folder), wanted=lambda subject: ".approval." in subject, kinds=frozenset({"approval"}))
    assert found == [record for record in each if ".approval." in record.subject]
    assert set(reads) == {2}


@pytest.mark.parametrize(
    ("patterns", "kinds"),
    [
        (["evt.*.task.>"], {"task"}),
        (["evt.1.task.x.completed", "evt.*.agent.*.sent"], {"task", "agent"}),
        (["evt.*.*.x.completed"], None),
        (["evt.*.task.>", "evt.>"], None),
        (["evt.*.>"], None),
        ([">"], None),
        ([], None),
    ],
)
def test_the_kinds_that_patterns_want(patterns, kinds):
    """None where it may be any."""
    assert kinds_of(patterns) == kinds


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 0, 2, b"a", None)],
        [(1, 1, 2, b"a", None)],
        [(1, 0, 2, b"a", None), (1, 0, 2, b"b", None)],
        [(1, 0, 2, b"a", None), (2, 0, 1, b"b", None)],
        [(1, 0, 2, b"a", None), (2, 1, 2, b"b", None)],
        [(1, 0, 2, b"a", None), (1, 1, 1, b"b", None)],
        [(1, 0, 2, b"a", None), (1, 1, 2, None, None)],
        [(1, 0, 0, b"a", None)],
        [(1, 0, 1, None, None)],
    ],
)
def test_rows_that_are_no_message(rows):
    """A message that is not whole is told of, with its sequence."""
    seqs, places, ofs, raws, exact = zip(*rows, strict=True)
    columns = [seqs, places, ofs, [5] * len(rows), ["evt.1.task.t.x"] * len(rows), raws, exact]
    with pytest.raises(Damaged, match=r"here: the message at \d is not whole"):
        list(records(columns, "here"))
