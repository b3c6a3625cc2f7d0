"""Reading what is stored at once: one entity's messages, and where the log ends.

What is the newest, the stream's leader says. The messages before it come from whichever copy of the stream answers
first: it may be behind, and is asked again then.
"""

import asyncio
from typing import Final

import msgspec

from callboard.bus.api import NOT_FOUND, Answer, Api, record_of, refusal
from callboard.bus.errors import BusError
from callboard.bus.frames import description, header, status
from callboard.bus.log import Record
from callboard.bus.wire import Reply

_BATCH: Final = 1000
_ONE_BY_ONE: Final = 16
_FEW: Final = 2
_END_OF_BATCH: Final = 204
_BEHIND_S: Final = 0.01


class _Ends(msgspec.Struct):
    last_seq: int = 0
    subjects: dict[str, int] = {}


class _Info(Answer):
    state: _Ends | None = None


async def end(api: Api, stream: str) -> int:
    """The sequence of the stream's last message, 0 when it is empty."""
    info = await api.call(f"STREAM.INFO.{stream}", None, _Info)
    if info.error or not info.state:
        raise refusal(info.error, stream) if info.error else BusError(f"{stream}: the server does not say its state")
    return info.state.last_seq


async def read_entity(
    api: Api, stream: str, entity: str, after: int, passed: int | None = None, last: Record | None = None
) -> list[Record]:
    """All messages under ``entity`` with a sequence over ``after``, in order; ``passed`` and ``last`` as in `Log.read`.

    The server looks through the rest of the log for a message more than there is, so it is never asked for one: a
    whole entity is counted first, a tail is read one by one, as it's short mostly, and counted if it is not.
    """
    subject = f"{entity}.>"
    last = last or await api.last(stream, subject)
    if last is None or last.seq <= after:
        return []
    if last.seq == after + 1:
        return [last]
    records: list[Record] = []
    counts = not after or passed is not None
    single = 0 if not after else _FEW if counts else _ONE_BY_ONE
    total = 0
    while not records or records[-1].seq < last.seq:
        batch = 1
        if len(records) >= single:
            if counts and not total:
                total = await _count(api, stream, subject) - (passed or 0)
            batch = max(1, min(_BATCH, total - len(records))) if total else _BATCH
        found = await _next(api, stream, subject, records[-1].seq if records else after, batch)
        records += found
        if not found:
            last = await api.last(stream, subject)
            if last is None or last.seq <= (records[-1].seq if records else after):  # purged meanwhile
                break
            await asyncio.sleep(_BEHIND_S)  # the copy that was asked is behind
    return records


async def subjects(api: Api, stream: str, pattern: str) -> dict[str, int]:
    """The subjects like ``pattern`` that the stream has messages on (100,000 at most), with how many."""
    info = await api.call(f"STREAM.INFO.{stream}", {"subjects_filter": pattern}, _Info)
    return info.state.subjects if info.state else {}


async def left(api: Api, stream: str, after: int) -> int:
    """How many messages there are with a sequence over ``after``, as the copy of the stream says that answers."""
    wanted = msgspec.json.encode({"seq": after + 1, "batch": 1, "next_by_subj": ">"})
    first, *_ = await api.request_many(f"$JS.API.DIRECT.GET.{stream}", wanted, _is_last)
    return 0 if status(first.headers) else int(header(first.headers, b"Nats-Num-Pending")) + 1


async def _count(api: Api, stream: str, subject: str) -> int:
    return sum((await subjects(api, stream, subject)).values())


async def _next(api: Api, stream: str, subject: str, after: int, batch: int) -> list[Record]:
    wanted = msgspec.json.encode({"seq": after + 1, "batch": batch, "next_by_subj": subject})
    *found, last = await api.request_many(f"$JS.API.DIRECT.GET.{stream}", wanted, _is_last)
    if (code := status(last.headers)) not in {NOT_FOUND, _END_OF_BATCH}:
        raise BusError(f"{stream}: reading {subject}: the server refuses: {description(last.headers)}", code)
    return [record_of(reply) for reply in found]


def _is_last(reply: Reply) -> bool:
    return status(reply.headers) != 0
