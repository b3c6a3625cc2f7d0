"""The prefix of a task's prompt, in the order in which providers lay it out: tools, schema, system, messages.

A prefix cache (of vLLM, llama.cpp, OpenAI, Anthropic) serves only what is the same from the very start, so each mark
hashes everything before it.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from callboard.events.chat import CHARACTERS_PER_TOKEN, Message
from callboard.events.prefix import BLOCK, MARK, PLACES
from callboard.events.task_spec import Blob, TaskSpec

CHARACTERS: Final = BLOCK * CHARACTERS_PER_TOKEN
"""Of a block."""


def prefix_of(spec: TaskSpec) -> bytes:
    """The marks of the prompt; an input in the blob store is not read, only what comes before it counts."""
    text = "".join(_parts(spec))
    running, found, done = blake2b(digest_size=MARK), bytearray(), 0
    for place in PLACES:
        if len(text) < place * CHARACTERS:
            break
        running.update(text[done : place * CHARACTERS].encode("utf-8", "surrogatepass"))
        found += running.digest()
        done = place * CHARACTERS
    return bytes(found)


def _parts(spec: TaskSpec) -> Iterator[str]:
    for given in (spec.tools, spec.schema):
        if given:
            yield msgspec.json.encode(given).decode()
    if spec.system:
        yield _turn(Message("system", spec.system))
    if isinstance(spec.input, str):
        yield _turn(Message("user", spec.input))
    elif not isinstance(spec.input, Blob):
        yield from map(_turn, spec.input)


def _turn(message: Message) -> str:
    calls = "".join(f"\x1e{call.name}\x1f{call.arguments}" for call in message.tool_calls)
    return f"{message.role}\x1f{message.content}{calls}\x1d"
