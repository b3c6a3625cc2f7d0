"""What a model is given for a task: what the task's context shows, then its own input. Pure.

The conversation comes as it was said, but for this:

- A summary stands for its messages, as a word of the user that says so.
- Answers of tools stand right after the message that called for them, whoever spoke in between: no model's API takes
  them elsewhere.
- What says nothing is left out, since some APIs refuse it.
- What the context begins with as the system's word joins the task's own, which comes first.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from callboard.events.chat import Message
from callboard.events.context_events import Compacted, Say
from callboard.events.task_spec import Blob, Shown, Text

SUMMARY: Final = "Summary of earlier messages:\n\n"
"""What a summary begins with."""

LONGEST_NEWEST: Final = 500
"""Characters of its newest text that are kept of a context, to tell what a task without input is about."""

Turn: TypeAlias = Say | Compacted


class Conversation(NamedTuple):
    """What a context shows, in the order for a model.

    ``unpaired`` are the ids of calls of tools without an answer, and of answers without a call.
    """

    turns: tuple[Turn, ...]
    unpaired: tuple[str, ...] = ()


def conversation(shown: Iterable[Turn]) -> Conversation:
    """What ``shown`` says, calls of tools followed by their answers; of equal ids, the first call is answered first."""
    groups: list[list[Turn]] = []
    waiting: dict[str, list[list[Turn]]] = {}
    stray: list[str] = []
    for turn in shown:
        if isinstance(turn, Say) and turn.role == "tool":
            call_id = turn.tool_call_id or ""
            if called := waiting.get(call_id):
                called.pop(0).append(turn)
            else:
                stray.append(call_id or "one without an id")
        elif text_of_turn(turn) or (isinstance(turn, Say) and turn.tool_calls):
            groups.append([turn])
            for call in turn.tool_calls if isinstance(turn, Say) else ():
                waiting.setdefault(call.id, []).append(groups[-1])
    unanswered = [call_id for call_id, left in waiting.items() if left]
    turns = tuple(turn for group in groups for turn in group)
    return Conversation(turns, tuple(dict.fromkeys([*unanswered, *stray])))


def text_of_turn(turn: Turn) -> Text:
    """What is said, or where that lies."""
    return turn.summary if isinstance(turn, Compacted) else turn.content


def message_of(turn: Turn, text: str) -> Message:
    """The message for a model; ``text`` is what the turn says, wherever that lies."""
    if isinstance(turn, Compacted):
        return Message("user", f"{SUMMARY}{text}")
    return Message(turn.role, text, turn.tool_calls, turn.tool_call_id)


def prompt(system: str | None, told: Sequence[Message], given: str | Sequence[Message]) -> tuple[Message, ...]:
    """All messages of a call: those of the context that were ``told`` before, and the task's own."""
    own = ([Message("user", given)] if given else []) if isinstance(given, str) else given
    if not system:
        return (*told, *own)
    if told and told[0].role == "system":
        system, told = f"{system}\n\n{told[0].content}", told[1:]
    return (Message("system", system), *told, *own)


def measured(turns: Sequence[Turn], prefix: bytes = b"", *, newest: bool = False) -> Shown:
    """How much these turns are; with the beginning of the ``newest`` text if that is wanted."""
    called = characters = size = 0
    for turn in turns:
        text = text_of_turn(turn)
        calls = turn.tool_calls if isinstance(turn, Say) else ()
        before = len(SUMMARY) if isinstance(turn, Compacted) else 0
        called += len(calls)
        characters += before + (text.size if isinstance(text, Blob) else len(text))
        size += before + (text.size if isinstance(text, Blob) else len(text.encode()))
        for call in calls:
            characters += len(call.name) + len(call.arguments)
            size += len(f"{call.id}{call.name}{call.arguments}".encode())
        size += len(((turn.tool_call_id if isinstance(turn, Say) else None) or "").encode())
    return Shown(len(turns), called, characters, size, prefix, _newest(turns) if newest else "")


def _newest(turns: Sequence[Turn]) -> str:
    texts = (text_of_turn(turn) for turn in reversed(turns))
    return next((text[:LONGEST_NEWEST] for text in texts if text and isinstance(text, str)), "")
