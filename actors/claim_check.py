"""Large values go to the blob store; the event carries their hash (claim check).

What is about a person lies there encrypted. The same value is stored once, since sealing it gives the same bytes.
"""

from typing import Final

import msgspec

from callboard.bus.errors import Locked
from callboard.bus.log import Bus
from callboard.events.chat import Message
from callboard.events.errors import Forgotten
from callboard.events.private import forgotten_note, is_forgotten, is_hidden
from callboard.events.task_spec import Blob, TaskSpec, Text

INLINE: Final = 64 * 1024
"""Values over this many bytes are put aside."""

_PLACE: Final = "blob"


async def put_aside(bus: Bus, data: bytes, media: str = "text/plain", private: str = "") -> Blob:
    """A value in the blob store, about the person ``private`` if that is not empty."""
    kept = await bus.privacy.seal(private, _PLACE, data) if private else data
    return Blob(await bus.blobs.put(kept), len(data), media, private)


async def fetched(bus: Bus, blob: Blob) -> bytes:
    """A value from the blob store.

    Raises:
        NotFound: it is gone.
        Forgotten: it was about somebody who has been forgotten.
        Locked: the key of whom it is about can't be had here.
    """
    if is_forgotten(blob):
        raise Forgotten(blob.private)
    if is_hidden(blob):
        raise Locked(f"what is about {blob.private} was read without its key, and can't be opened here")
    kept = await bus.blobs.get(blob.sha256)
    return await bus.privacy.open(blob.private, _PLACE, kept) if blob.private else kept


async def with_input_aside(bus: Bus, spec: TaskSpec) -> TaskSpec:
    """The spec with a large input replaced by its place in the blob store (claim check)."""
    if isinstance(spec.input, Blob):
        return spec
    text = isinstance(spec.input, str)
    data = spec.input.encode() if isinstance(spec.input, str) else msgspec.json.encode(spec.input)
    if len(data) <= INLINE:
        return spec
    blob = await put_aside(bus, data, "text/plain" if text else "application/json", spec.private or "")
    return msgspec.structs.replace(spec, input=blob)


async def input_of(bus: Bus, spec: TaskSpec) -> str | tuple[Message, ...]:
    """The input of a task, fetched from the blob store if it lies there; raises as `fetched`."""
    if not isinstance(spec.input, Blob):
        return spec.input
    data = await fetched(bus, spec.input)
    if spec.input.media == "application/json":
        return msgspec.json.decode(data, type=tuple[Message, ...])
    return data.decode()


async def text_aside(bus: Bus, text: str, private: str = "") -> Text:
    """The text itself, or its place in the blob store when it is large."""
    if len(msgspec.json.encode(text)) <= INLINE:  # as it would stand in an event
        return text
    return await put_aside(bus, text.encode(), private=private)


async def text_of(bus: Bus, text: Text) -> str:
    """The text itself, fetched from the blob store if it lies there; raises as `fetched`."""
    return (await fetched(bus, text)).decode() if isinstance(text, Blob) else text


async def shown_text(bus: Bus, text: Text) -> str:
    """The text, or a note in its place when it is about somebody who has been forgotten."""
    try:
        return await text_of(bus, text)
    except Forgotten as error:
        return forgotten_note(error.person)
