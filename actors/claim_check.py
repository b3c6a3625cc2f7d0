"""Large values go to the blob store; the event carries their hash (claim check)."""

from typing import Final

import msgspec

from callboard.bus.log import Bus
from callboard.events.chat import Message
from callboard.events.task_spec import Blob, TaskSpec, Text

INLINE: Final = 64 * 1024
"""Values over this many bytes are put aside."""


async def with_input_aside(bus: Bus, spec: TaskSpec) -> TaskSpec:
    """The spec with a large input replaced by its place in the blob store (claim check)."""
    if isinstance(spec.input, Blob):
        return spec
    text = isinstance(spec.input, str)
    data = spec.input.encode() if isinstance(spec.input, str) else msgspec.json.encode(spec.input)
    if len(data) <= INLINE:
        return spec
    blob = Blob(await bus.blobs.put(data), len(data), "text/plain" if text else "application/json")
    return msgspec.structs.replace(spec, input=blob)


async def input_of(bus: Bus, spec: TaskSpec) -> str | tuple[Message, ...]:
    """The input of a task, fetched from the blob store if it lies there."""
    if not isinstance(spec.input, Blob):
        return spec.input
    data = await bus.blobs.get(spec.input.sha256)
    if spec.input.media == "application/json":
        return msgspec.json.decode(data, type=tuple[Message, ...])
    return data.decode()


async def text_aside(bus: Bus, text: str) -> Text:
    """The text itself, or its place in the blob store when it is large."""
    data = text.encode()
    return text if len(data) <= INLINE else Blob(await bus.blobs.put(data), len(data))


async def text_of(bus: Bus, text: Text) -> str:
    """The text itself, fetched from the blob store if it lies there."""
    return (await bus.blobs.get(text.sha256)).decode() if isinstance(text, Blob) else text
