"""Long conversations: what was said long ago is summed up by a model, and stays readable."""

from collections.abc import Mapping
from typing import Any, Final

from callboard.actors.agents.turn import Turn
from callboard.actors.claim_check import shown_text
from callboard.events.context_content import Content, older
from callboard.events.context_events import Compacted, Say
from callboard.events.errors import InvalidInput

KEPT: Final = 4
"""A part of the limit, 1 in so many, is left as it was said."""

_SYSTEM: Final = (
    "Sum up this conversation for whoever goes on with it. Keep names, numbers, what was decided and why, and what is "
    "still open. Write nothing else."
)


async def shorten(turn: Turn, context_id: str, limit: int, asked: Mapping[str, Any]) -> None:
    """Sum up the older part of a conversation that shows over ``limit`` tokens; ``asked`` is how to ask for a model.

    Raises StepFailed when no model can.
    """
    try:
        content = await turn.context(context_id).read()
    except InvalidInput:  # nothing was said yet
        return
    if content.tokens <= limit:
        return
    first_last = await turn.run("what is older", older, content, limit // KEPT)
    if first_last is None:
        return
    first, last = first_last
    text = await _text(turn, content, last)
    summary = await turn.model("sum up", text, **{**asked, "system": _SYSTEM, "tools": ()})
    await turn.run("compact", turn.context(context_id).compact, first, last, summary)


async def _text(turn: Turn, content: Content, last: int) -> str:
    """What is shown of the messages up to ``last``, for a model to read."""
    until = Content(content.id, content.version, content.messages[: last + 1], compactions=_within(content, last))
    lines = [await _line(turn, each) for each in until.shown()]
    return "\n\n".join(line for line in lines if line)


def _within(content: Content, last: int) -> tuple[Compacted, ...]:
    return tuple(each for each in content.compactions if each.last <= last)


async def _line(turn: Turn, shown: Say | Compacted) -> str:
    if isinstance(shown, Compacted):
        return f"(earlier) {await shown_text(turn.bus, shown.summary)}"
    calls = "; ".join(f"calls {call.name}({call.arguments})" for call in shown.tool_calls)
    text = await shown_text(turn.bus, shown.content)
    return f"{shown.role}: {' '.join(part for part in (text, calls) if part)}" if text or calls else ""
