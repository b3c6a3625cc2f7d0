"""Which log a waiting submission is for: the one that holds the shard of what it asks for or tells of."""

from typing import Final

import msgspec

from callboard.actors.submission import id_from, parse
from callboard.bus.subjects import SUBMIT, SUBMIT_APPROVAL, SUBMIT_MESSAGE, SUBMIT_SCORE
from callboard.events.agent_names import id_of
from callboard.events.errors import InvalidInput
from callboard.events.shards import Shards

_NAMED: Final = {SUBMIT_SCORE: ("task", "task"), SUBMIT_APPROVAL: ("approval", "approval")}


def is_ours(keep: Shards, subject: str, data: bytes, seq: int, time_ns: int) -> bool:
    """Whether it is for the log that holds ``keep``; what names nothing, or can't be read, is for one of them too."""
    drawn = id_from("submission", str(seq), str(time_ns))
    if subject == SUBMIT:
        try:
            return keep.holds("task", parse(data).task_id(drawn))
        except InvalidInput:
            return keep.holds("task", drawn)
    try:
        told = msgspec.json.decode(data)
        if subject == SUBMIT_MESSAGE:
            return keep.holds("agent", id_of(told["agent"]))
        kind, name = _NAMED[subject]
        return keep.holds(kind, str(told[name]))
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, UnicodeDecodeError, InvalidInput):
        return keep.holds("task", drawn)
