"""Which cell a task is for."""

from collections import Counter

import pytest

from callboard.deploy.cells import at_home, by_lot, home_of
from callboard.deploy.settings import Cell
from callboard.events.ids import shard_of

CELLS = [Cell("0-15", "nats://a:4222"), Cell("16-63", "nats://b:4222")]
AWAY = next(f"plan-{n}" for n in range(99) if shard_of(f"plan-{n}") > 15)
HERE = next(f"plan-{n}" for n in range(99) if shard_of(f"plan-{n}") <= 15)


@pytest.mark.parametrize(
    ("fields", "home"),
    [
        ({}, None),
        ({"context": "", "parent": None}, None),
        ({"id": "a", "parent": "b", "key": "c", "context": "d"}, "a"),
        ({"parent": "b", "key": "c", "context": "d"}, "b"),
        ({"context": "d@17"}, "d"),
    ],
)
def test_what_says_where_a_task_goes(fields, home):
    """Its own id first, then its parent, then its key, then what it reads."""
    assert home_of(fields) == home


def test_a_task_with_a_key_is_where_its_context_is():
    """The same key and context are the same task, in the context's cell; alone a key says where it is itself."""
    for context in (AWAY, HERE):
        for number in range(8):
            given = {"input": "x", "key": f"k{number}", "context": f"{context}@3"}
            fields = at_home(given, CELLS)
            assert fields == at_home(given, CELLS)
            home = shard_of(home_of(fields))
            assert (home > 15) == (shard_of(context) > 15)
            assert fields == given or shard_of(fields["id"]) == shard_of(context)
    for given in ({"key": "k"}, {"context": AWAY}, {"key": "k", "context": AWAY, "parent": HERE}):
        assert at_home(given, CELLS) is given


def test_cells_are_drawn_by_their_shards():
    """Each once; who holds three times the shards is first three times as often."""
    first = Counter(next(by_lot(CELLS)).shards for _ in range(2000))
    assert 1400 < first["16-63"] < 1600
    assert sorted(cell.shards for cell in by_lot(CELLS)) == ["0-15", "16-63"]
