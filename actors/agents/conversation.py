"""The loop of a model and its tools. Each reply of the model, each call and its result is in the log.

A reply is a task, put together from the conversation as it was at one version. What it wants called is called, all at a
time, and said in the conversation together with the results: so a context never holds a call without its answer.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from callboard.actors.agents.compaction import shorten
from callboard.actors.agents.errors import Refusal, StepFailed
from callboard.actors.agents.turn import Turn
from callboard.actors.outcome import Outcome
from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.toolbox import Toolbox
from callboard.events.agent_events import StepFailure
from callboard.events.agent_names import definition_of, id_of
from callboard.events.approval import Approval, Status
from callboard.events.chat import Tool, ToolCall
from callboard.events.context import Say
from callboard.events.task import Status as TaskStatus

_HANDOFF: Final = "handoff_to_"
_MESSAGE: Final = {
    "type": "object",
    "properties": {"message": {"type": "string", "description": "What it should do, and all that it must know."}},
    "required": ["message"],
    "additionalProperties": False,
}


def is_hand_off(tool: str) -> bool:
    """Whether what a model is offered under this name is to hand over to another agent."""
    return tool.startswith(_HANDOFF)


class Limits(NamedTuple):
    """What one message may take: so many model calls, and so many micro-dollars if it is not None.

    A conversation of over ``context`` tokens is shortened before the next message.
    """

    turns: int
    cost: int | None
    context: int | None


class LimitReached(Refusal):
    """A message took as many model calls, or as much money, as it may."""


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a hand-off."""

    message: str


class Conversation:
    """One message, as a model works at it."""

    def __init__(
        self,
        turn: Turn,
        box: Toolbox,
        instructions: str,
        handoffs: Sequence[str],
        asked: Mapping[str, Any],
        limits: Limits,
    ) -> None:
        self._turn = turn
        self._box = box
        self._handoffs = {f"{_HANDOFF}{id_of(each)}": each for each in handoffs}
        self._limits = limits
        self._context = turn.contexts[0].id if turn.contexts else turn.agent_id
        self._asked = {**asked, "system": instructions or None, "tools": self._offers()}
        self._spent = 0

    async def answer(self, message: str) -> str:
        """What the model answers in the end.

        Raises:
            LimitReached: it has no answer within its limits.
            StepFailed: a model call was given up.
        """
        if self._limits.context is not None:
            await shorten(self._turn, self._context, self._limits.context, self._asked)
        version = await self._turn.change("message", self._context, Say("user", message))
        for number in count(1):
            reply = await self._reply(number, version)
            text = str(reply.output or "")
            if not reply.tool_calls:
                await self._turn.change("answer", self._context, Say("assistant", text))
                return text
            calls = reply.tool_calls
            results = await self._turn.gather(
                *(self._result(f"{call.name} {number}.{place}", call) for place, call in enumerate(calls, 1))
            )
            said = [Say("tool", result, (), call.id) for call, result in zip(calls, results, strict=True)]
            version = await self._turn.change(f"tools {number}", self._context, Say("assistant", text, calls), *said)
        raise AssertionError("unreachable")

    async def _reply(self, number: int, version: int) -> Outcome:
        limits, left = self._limits, None
        if number > limits.turns:
            raise LimitReached(f"no answer within {limits.turns} model calls: raise max_turns, or ask for less")
        if limits.cost is not None and (left := limits.cost - self._spent) <= 0:
            raise LimitReached(
                f"no answer for {self._spent:,} micro-dollars, of at most {limits.cost:,}, in {number - 1} model calls"
            )
        step = f"model {number}"
        asked = self._asked if left is None else {**self._asked, "max_cost": left}
        reply = await self._turn.task(step, "", context=f"{self._context}@{version}", **asked)
        self._spent += reply.cost
        if reply.status is not TaskStatus.COMPLETED:
            raise StepFailed(step, StepFailure(reply.status, f"task {reply.task}: {reply.reason}"))
        return reply

    async def _result(self, step: str, call: ToolCall) -> str:
        """What the model is told of a call that it wants made."""
        try:
            if call.name in self._handoffs:
                return await self._handed_over(step, call)
            tool = self._box.find(call.name)
            needs = f"approve {step}" if tool.approval else ""
            if needs:
                self._check_allowed(call, await self._asked_for(needs, call))
            return str(await self._turn.run(step, self._made, step, call, once=tool.once, needs=needs))
        except StepFailed as error:
            return f"Error: {error.failure.message}"
        except ToolError as error:  # it was not even tried
            return f"Error: {error}"

    async def _made(self, step: str, call: ToolCall) -> str:
        turn = self._turn
        result = await self._box.call(call, CallInfo(turn.agent, turn.message, call.id, f"{turn.message}/{step}"))
        if result.error is not None:
            raise ToolError(result.error, result.fault or "failed")
        return result.text

    async def _asked_for(self, step: str, call: ToolCall) -> Approval:
        action = {"tool": call.name, "arguments": _arguments(call)}
        return await self._turn.approve(step, action, question=f"May {self._turn.agent} do this?")

    def _check_allowed(self, call: ToolCall, approval: Approval) -> None:
        if approval.status is not Status.APPROVED:
            by = f" by {approval.by}" if approval.by else ""
            note = f": {approval.note}" if approval.note else ""
            raise ToolError(f"{call.name} is not allowed, it was {approval.status}{by}{note}")

    async def _handed_over(self, step: str, call: ToolCall) -> str:
        try:
            message = msgspec.json.decode(call.arguments, type=_Message).message
        except msgspec.MsgspecError as error:
            raise ToolError(f'{call.name}: {error}; give {{"message": "…"}}', "arguments") from None
        answer = await self._turn.handoff(step, self._named(call.name), message, contexts=(self._context,))
        return answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()

    def _named(self, handoff: str) -> str:
        """The agent meant: of the same instance as this one, unless one is given."""
        name = self._handoffs[handoff]
        _, slash, instance = self._turn.agent.partition("/")
        return name if "/" in name or not slash else f"{name}/{instance}"

    def _offers(self) -> tuple[Tool, ...]:
        handoffs = (
            Tool(offer, self._turn.describe(definition_of(id_of(name))) or f"Hand over to {name}.", _MESSAGE)
            for offer, name in self._handoffs.items()
        )
        return (*self._box.offers(), *handoffs)


def _arguments(call: ToolCall) -> Any:
    try:
        return msgspec.json.decode(call.arguments)
    except msgspec.MsgspecError:
        return call.arguments
