"""Declarative agents: what they are told, what they may use and spend. A model does the rest."""

import asyncio
from collections.abc import Iterable
from copy import copy
from typing import Any, Final

import msgspec

from callboard.actors.agents.conversation import Conversation, Limits
from callboard.actors.agents.definition import Definition, checked_private, every_of
from callboard.actors.agents.turn import Turn
from callboard.actors.board import submission_of
from callboard.actors.tools.mcp_server import McpServer
from callboard.actors.tools.toolbox import Given, Toolbox
from callboard.events.agent_events import Defined
from callboard.events.agent_names import checked_definition, id_of, name_of
from callboard.events.chat import Tool
from callboard.events.errors import InvalidInput

_OURS: Final = frozenset(
    {
        "input",
        "context",
        "system",
        "tools",
        "owner",
        "id",
        "key",
        "max_cost",
        "reply",
        "reply_to",
        "traceparent",
        "private",
    }
)
"""What an agent itself says of the tasks that its model calls are."""


class Agent:
    """Agents whose messages a model works at: it calls tools, and hands over to others, until it has an answer.

    Its conversation is a shared context named as the agent, which grows from message to message. What was handed over
    to it with a context it does in that.
    """

    def __init__(
        self,
        name: str,
        *,
        instructions: str = "",
        description: str = "",
        tools: Iterable[Given] = (),
        handoffs: Iterable[str | Definition] = (),
        max_turns: int = 20,
        max_cost: int | None = None,
        compact_at: int | None = None,
        cron: str = "",
        zone: str = "UTC",
        private: bool | str = False,
        **asked: Any,
    ) -> None:
        """Define agents.

        Args:
            name: of the definition.
            instructions: what the model is told before anything else.
            description: what the agents are good for; agents that may hand over to them see it.
            tools: Python functions, and MCP servers.
            handoffs: agents that it may hand over to: definitions or their names. Those of the same name after the
                slash are meant, unless another is given (``researcher/main``).
            max_turns: model calls for one message, at most.
            max_cost: what they may cost together, in micro-dollars.
            compact_at: tokens of the conversation over which a model sums up its older part before the next message.
            cron: when the agent of this very name is told that it is time, as by `Board.schedule`.
            zone: the time zone that it is meant in.
            private: whether all that an agent works at is kept encrypted, about the person that its instance is named
                after (``customer-42`` of ``writer/customer-42``), or about the one that this names.
            **asked: how the model is asked for, as in `Board.submit`: ``needs``, ``min_quality``, ``budget`` …

        Raises InvalidInput: a name or a field is wrong.
        """
        self.name = checked_definition(name)
        _check(name, asked, max_turns)
        given = list(tools)
        self.every = every_of(cron, zone)
        self._box = Toolbox(given)
        self._opening: asyncio.Task[Toolbox] | None = None
        self._instructions = instructions
        self._limits = Limits(max_turns, max_cost, compact_at)
        self._asked = asked
        self._handoffs = tuple(name_of(id_of(each if isinstance(each, str) else each.name)) for each in handoffs)
        functions = Toolbox(each for each in given if not isinstance(each, McpServer))
        names = tuple(offer.name for offer in functions.offers())
        asked_about = tuple(name for name in names if functions.find(name).approval)
        servers = tuple(f"{each.name}/…" for each in given if isinstance(each, McpServer))
        about = checked_private(name, private, self.every)
        self.defined = Defined(description, (*names, *servers), self._handoffs, asked_about, about)

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def message(self, body: Any) -> str:
        """What the model is told: a text as it is, anything else as JSON."""
        return body if isinstance(body, str) else msgspec.json.encode(body).decode()

    async def handle(self, turn: Turn, message: str) -> str:
        """Work at a message, and return the model's answer."""
        box = await self._opened()
        conversation = Conversation(turn, box, self._instructions, self._handoffs, self._asked, self._limits)
        return await conversation.answer(message)

    async def aclose(self) -> None:
        """Let go of the MCP servers."""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            opening.cancel()
            await asyncio.wait({opening})
            await self._box.__aexit__()

    def rehearsed(self, offered: Iterable[Tool]) -> "Agent":
        """The same, with its MCP servers left alone: their tools are as they were ``offered``."""
        other = copy(self)
        other._box, other._opening = self._box.closed(offered), None
        return other

    async def _opened(self) -> Toolbox:
        """The tools, with MCP servers started for the first message. Raises ToolError, InvalidInput."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.create_task(self._box.__aenter__(), name=f"tools of {self.name}")
        return await asyncio.shield(self._opening)


def _check(name: str, asked: dict[str, Any], max_turns: int) -> None:
    if wrong := sorted(_OURS & asked.keys()):
        raise InvalidInput(f"agent {name!r}: {wrong[0]} is what the agent itself says of its model calls: leave it out")
    if max_turns < 1:
        raise InvalidInput(f"agent {name!r}: max_turns must be at least 1, got {max_turns}")
    try:
        submission_of({"input": "?", **asked})
    except InvalidInput as error:
        raise InvalidInput(f"agent {name!r}: {error}") from None
