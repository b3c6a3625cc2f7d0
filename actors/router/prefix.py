"""The prefix of a task's prompt, in the order in which providers lay it out: tools, schema, system, messages.

A prefix cache (of vLLM, llama.cpp, OpenAI, Anthropic) serves only what is the same from the very start, so each mark
hashes everything before it.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from callboard.events.chat import CHARACTERS_PER_TOKEN, Message
from callboard.events.prefix import BLOCK, MARK, PLACES
from callboard.events.prompt import prompt
from callboard.events.task_spec import Blob, TaskSpec

CHARACTERS: Final = BLOCK * CHARACTERS_PER_TOKEN
"""Of a block."""


def prefix_of(spec: TaskSpec) -> bytes:
    """The marks of the prompt; an input in the blob store is not read, only what comes before it counts.

    Those of a task that reads a context were found when it was accepted. What is about a person has none: texts could
    be guessed by them.
    """
    if spec.private:
        return b""
    return prefix_with(spec, ()) if spec.shown is None else spec.shown.prefix


def prefix_with(spec: TaskSpec, told: Sequence[Message], *, whole: bool = True) -> bytes:
    """The marks of the prompt when its context is ``told`` first; if that is not the ``whole`` of it, of that part."""
    text = "".join(_parts(spec, told, whole=whole))
    running, found, done = blake2b(digest_size=MARK), bytearray(), 0
    for place in PLACES:
        if len(text) < place * CHARACTERS:
            break
        running.update(text[done : place * CHARACTERS].encode("utf-8", "surrogatepass"))
        found += running.digest()
        done = place * CHARACTERS
    return bytes(found)


def _parts(spec: TaskSpec, told: Sequence[Message], *, whole: bool) -> Iterator[str]:
    for declared in (spec.tools, spec.schema):
        if declared:
            yield msgspec.json.encode(declared).decode()
    given = spec.input if whole and not isinstance(spec.input, Blob) else ()
    yield from map(_turn, prompt(spec.system, told, given))


def _turn(message: Message) -> str:
    calls = "".join(f"\x1e{call.name}\x1f{call.arguments}" for call in message.tool_calls)
    return f"{message.role}\x1f{message.content}{calls}\x1d"
