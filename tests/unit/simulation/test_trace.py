"""Traces: three forms, and what is wrong with one."""

import pytest

from callboard.actors.simulation.trace import Arrival, parse, read
from callboard.events.errors import InvalidInput

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:46.6806,1,2\n"
MOONCAKE = '{"timestamp": 27482, "input_length": 1030, "output_length": 52, "hash_ids": [46, 47, 48]}\n'
PLAIN = '{"at": 1.5, "input": 600, "output": 7}\n{"at": 0.5, "input": 600, "output": 8, "blocks": [1, 2]}\n'


def test_azure():
    """Times to 100 ns, no prefixes."""
    assert parse(AZURE.splitlines(), "a").arrivals == [Arrival(0, 374, 44), Arrival(10_000, 1, 2)]


def test_mooncake():
    """Milliseconds, and the blocks as they are."""
    assert parse(["", MOONCAKE], "m").arrivals == [Arrival(0, 1030, 52, (46, 47, 48))]


def test_plain():
    """Seconds; in order of time, whatever the order of the lines."""
    assert parse(PLAIN.splitlines(), "p").arrivals == [Arrival(0, 600, 8, (1, 2)), Arrival(10**9, 600, 7)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "t: holds no tasks"),
        ("hello\n", "t:1: no form of trace begins like this"),
        ("{}\n", "t:1: no form of trace begins like this"),
        (AZURE + "2023-11-16 18:15:47,5\n", "t:4: expected 3 fields, got 2"),
        (AZURE + "yesterday,5,5\n", "t:4: Invalid isoformat string: 'yesterday'"),
        (AZURE + "2023-11-16 18:15:47,5,0\n", "t:4: input and output must be at least 1 token"),
        (MOONCAKE + "{\n", "t:2: Input data was truncated"),
        (MOONCAKE.replace("52", '"x"'), "t:1: Expected `int`, got `str`"),
        (PLAIN + '{"at": 1, "input": 512, "output": 1, "blocks": [1, 2]}\n', "t:3: input and output must be at least"),
        (PLAIN + '{"at": 1, "input": 512, "output": 1, "block": [1]}\n', "t:3: Object contains unknown field `block`"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text, told):
    """With the file and the line."""
    with pytest.raises(InvalidInput) as raised:
        parse(text.splitlines(), "t")
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    """One line that says which and why."""
    with pytest.raises(InvalidInput, match="nothing: No such file"):
        read(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="not a text in UTF-8"):
        read(tmp_path / "binary")
    (tmp_path / "good").write_text(PLAIN)
    assert len(read(tmp_path / "good").arrivals) == 2
