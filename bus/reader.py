"""Reading what is stored at once: one entity's messages, and where the log ends."""

from typing import Final

import msgspec

from callboard.bus.api import NOT_FOUND, Answer, Api, record_of, refusal
from callboard.bus.errors import BusError
from callboard.bus.frames import description, header, status
from callboard.bus.log import Record
from callboard.bus.wire import Reply

_BATCH: Final = 1000
_END_OF_BATCH: Final = 204


class _Ends(msgspec.Struct):
    last_seq: int = 0


class _Info(Answer):
    state: _Ends | None = None


async def end(api: Api, stream: str) -> int:
    """The sequence of the stream's last message, 0 when it is empty."""
    info = await api.call(f"STREAM.INFO.{stream}", None, _Info)
    if info.error or not info.state:
        raise refusal(info.error, stream) if info.error else BusError(f"{stream}: the server does not say its state")
    return info.state.last_seq


async def read_entity(api: Api, stream: str, entity: str, after: int) -> list[Record]:
    """All messages under ``entity`` with a sequence over ``after``, in order."""
    records: list[Record] = []
    while True:
        wanted = {"seq": after + 1, "batch": _BATCH, "next_by_subj": f"{entity}.>"}
        *found, last = await api.request_many(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), _is_last)
        records += map(record_of, found)
        code = status(last.headers)
        if code == NOT_FOUND:
            return records
        if code != _END_OF_BATCH:
            raise BusError(f"{stream}: reading {entity}: the server refuses: {description(last.headers)}", code)
        if header(last.headers, b"Nats-Num-Pending") == b"0" or not found:
            return records
        after = records[-1].seq


def _is_last(reply: Reply) -> bool:
    return status(reply.headers) != 0
