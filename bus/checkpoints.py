"""The signed checkpoints, in a stream of their own from which nothing can be taken away."""

import asyncio

from callboard.bus.api import WRONG_LAST, Api, decode_stored, refusal
from callboard.bus.errors import WRONG_LAST_SEQUENCE, Conflict, NotFound
from callboard.bus.frames import block
from callboard.bus.log import Record
from callboard.bus.reader import end
from callboard.bus.stream_names import CHECKPOINTS
from callboard.bus.subjects import checkpoint

_AT_ONCE = 500


class JetStreamCheckpoints:
    """The stream CHECKPOINTS; see `Checkpoints`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def append(self, size: int, data: bytes, expected: int) -> int:
        """Store one, after the one with the sequence ``expected``, and return its own."""
        headers = block(Nats_Expected_Last_Sequence=str(expected))
        reply = await self._api.request(checkpoint(size), data, headers=headers)
        stored = decode_stored(reply.data)
        if not stored.error:
            return stored.seq
        if stored.error.err_code in WRONG_LAST:
            last = await self.last()
            if last and last.seq == expected + 1 and last.data == data:  # ours: only the answer was lost
                return last.seq
            raise Conflict(
                f"checkpoints: the last one is {last.seq if last else 0}, not {expected}: another notary was faster",
                WRONG_LAST_SEQUENCE,
            )
        raise refusal(stored.error, "checkpoints")

    async def last(self) -> Record | None:
        """The newest one."""
        return await self._api.last(CHECKPOINTS, checkpoint(None))

    async def read(self, after: int = 0) -> list[Record]:
        """All of them with a sequence over ``after``, in order; one that is gone is left out."""
        upto = await end(self._api, CHECKPOINTS)
        found: list[Record] = []
        for start in range(after + 1, upto + 1, _AT_ONCE):
            wanted = range(start, min(start + _AT_ONCE, upto + 1))
            found += [each for each in await asyncio.gather(*map(self._at, wanted)) if each]
        return found

    async def _at(self, seq: int) -> Record | None:
        try:
            return await self._api.at(CHECKPOINTS, seq)
        except NotFound:
            return None
