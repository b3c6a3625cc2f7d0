"""Tasks that read a context: pinned to a version when they are accepted, put together when the model is called.

What a task reads is a version, which can't change any more, so its prompt can be put together again at any time; the
log holds no copy of it.
"""

from itertools import takewhile
from typing import Final

from msgspec.structs import replace

from callboard.actors.claim_check import input_of, text_of
from callboard.actors.contexts import Contexts
from callboard.actors.router.prefix import prefix_with
from callboard.events.chat import Message
from callboard.events.context_version import ContextVersion, context_version
from callboard.events.errors import Forgotten, InvalidInput
from callboard.events.prompt import conversation, measured, message_of, prompt, text_of_turn
from callboard.events.task_spec import TaskSpec, Text

FORGOTTEN: Final = "(forgotten)"
"""What a model is told in place of a message that nobody can read any more."""


async def pinned(contexts: Contexts, spec: TaskSpec) -> TaskSpec:
    """The task with its context as of a version, and how much that shows; one without a context as it is.

    Raises:
        InvalidInput: there is no such context or version, nothing is asked, calls of tools have no answer there, or it
            is about another person than the task.
    """
    if spec.context is None:
        return spec
    asked = context_version(spec.context)
    content = await contexts.content(*asked)
    spec = about(spec, content.private, f"context {content.id}")
    reads = ContextVersion(asked.id, content.version)
    turns, unpaired = conversation(content.shown())
    if unpaired:
        raise InvalidInput(
            f"context {reads} has calls of tools without an answer, or the reverse ({', '.join(unpaired[:5])}): "
            "say what is missing there, or read another version"
        )
    if not turns and not spec.input:
        raise InvalidInput(f"context {reads} has no messages and input is empty: say something there, or give a text")
    inline = [*takewhile(lambda turn: isinstance(text_of_turn(turn), str), turns)]
    told = [message_of(turn, str(text_of_turn(turn))) for turn in inline]
    prefix = b"" if spec.private else prefix_with(spec, told, whole=len(inline) == len(turns))
    return replace(spec, context=str(reads), shown=measured(turns, prefix, newest=not spec.input))


async def prompt_of(contexts: Contexts, spec: TaskSpec) -> tuple[Message, ...]:
    """All that a model is given for a task that was accepted: its context, and its own instructions and input."""
    told = await _told(contexts, spec) if spec.shown is not None else ()
    return prompt(spec.system, told, await input_of(contexts.bus, spec))


async def _told(contexts: Contexts, spec: TaskSpec) -> tuple[Message, ...]:
    content = await contexts.content(*context_version(spec.context or ""))
    turns = conversation(content.shown()).turns
    return tuple([message_of(turn, await _told_text(contexts, text_of_turn(turn))) for turn in turns])


async def _told_text(contexts: Contexts, text: Text) -> str:
    try:
        return await text_of(contexts.bus, text)
    except Forgotten:
        return FORGOTTEN


def about(spec: TaskSpec, person: str, what: str) -> TaskSpec:
    """The task, about the person that ``what`` is about which it is part of. Raises InvalidInput if about another."""
    if not person or spec.private == person:
        return spec
    if spec.private:
        raise InvalidInput(f"private is {spec.private!r}, but {what} is about {person}: leave it out, or say the same")
    return replace(spec, private=person)
