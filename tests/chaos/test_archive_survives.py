"""A process that archives is killed at random, again and again: what is there is whole, and it goes on from there."""

import random
import subprocess
import sys
import time

import pytest

from callboard.bus.archive.folder import Archive

ARCHIVES = """
import sys
from pathlib import Path
from callboard.bus.archive import disk, segment
from callboard.bus.archive.folder import Archive
from callboard.bus.archive.parquet import installed
from callboard.bus.log import Record

installed()
archive = Archive(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    with disk.locked(archive.folder):
        first = archive.refresh() + 1
        each = [Record(seq, f"evt.1.task.t{seq % 99}.x", b"%d" % seq * 40, seq) for seq in range(first, first + 700)]
        segment.write(archive.folder, first, [each])
"""


@pytest.mark.chaos
def test_kill_nine(tmp_path):
    """Thirty kills; every message is there once, and nothing is left of what was half done."""
    dice, reached = random.Random(1), 0
    for _ in range(30):
        writer = subprocess.Popen([sys.executable, "-c", ARCHIVES, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(dice.random() * 0.25)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        archive = Archive(tmp_path)
        assert archive.refresh() >= reached
        reached = archive.end
        seqs = [int(record.data[: len(record.data) // 40]) for records in archive.records() for record in records]
        assert seqs == list(range(1, reached + 1))
    assert reached > 700
    assert len(list(archive.verify())) == reached // 700
