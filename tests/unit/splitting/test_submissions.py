"""What waits to be taken in when a log is split is taken in by one of its parts."""

import json

import pytest

from callboard.actors.splitting import is_ours
from callboard.bus.subjects import SUBMIT, SUBMIT_APPROVAL, SUBMIT_MESSAGE, SUBMIT_SCORE
from callboard.events.shards import Shards

LOWER, UPPER = Shards.parse("0-31"), Shards.parse("32-63")


@pytest.mark.parametrize(
    ("subject", "told", "ours"),
    [
        (SUBMIT, {"input": "x", "id": "05-a"}, True),
        (SUBMIT, {"input": "x", "id": "25-a"}, False),
        (SUBMIT, {"input": "x", "key": "k", "parent": "25-a"}, False),
        (SUBMIT_SCORE, {"task": "05-a", "score": 1}, True),
        (SUBMIT_APPROVAL, {"approval": "25-a"}, False),
        (SUBMIT_MESSAGE, {"agent": "25-writer/1", "body": 1}, None),
    ],
)
def test_what_names_something_goes_where_that_is(subject, told, ours):
    data = json.dumps(told).encode()
    found = [is_ours(part, subject, data, 1, 1) for part in (LOWER, UPPER)]
    assert sorted(found) == [False, True]
    assert ours is None or found[0] is ours


@pytest.mark.parametrize("subject", [SUBMIT, SUBMIT_SCORE, SUBMIT_APPROVAL, SUBMIT_MESSAGE])
@pytest.mark.parametrize("data", [b'{"input": "x"}', b"no json", b"[]", b'{"task": 1', b'{"agent": ""}', b"\xff"])
def test_all_else_goes_to_one_of_them(subject, data):
    found = [[is_ours(part, subject, data, seq, 7) for part in (LOWER, UPPER)] for seq in range(20)]
    assert {sum(each) for each in found} == {1}
