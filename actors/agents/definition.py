"""What agents are: a name, and how they handle a message."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias, get_type_hints, runtime_checkable

import msgspec

from callboard.actors.agents.turn import Turn
from callboard.actors.cron import next_due
from callboard.bus.clock import now
from callboard.events.agent_events import Defined
from callboard.events.agent_names import checked_definition
from callboard.events.chat import Tool
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

Handle: TypeAlias = Callable[[Turn, Any], Awaitable[Any]]


class Every(NamedTuple):
    """When an agent is sent a message that tells the time: at the times of a cron expression."""

    cron: str
    zone: str


def every_of(cron: str, zone: str) -> Every | None:
    """The times that are meant, None without an expression. Raises InvalidInput when it can't be read."""
    if not cron:
        return None
    next_due(cron, zone, now())
    return Every(cron, zone)


@runtime_checkable
class Definition(Protocol):
    """What all agents ``NAME`` and ``NAME/…`` are; a host serves several."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def defined(self) -> Defined:
        """What others may know of it."""

    @property
    def every(self) -> Every | None:
        """When the agent of that very name is told that it is time, if ever."""

    def message(self, body: Any) -> Any:
        """A message as `handle` wants it. Raises InvalidInput when it can't be that."""

    async def handle(self, turn: Turn, message: Any) -> Any:
        """Work at a message, and return the answer, as JSON."""

    async def aclose(self) -> None:
        """No message comes any more on this host."""

    def rehearsed(self, offered: Iterable[Tool]) -> "Definition":
        """The same for a rehearsal: whom it would start or call is left alone, and ``offered`` what that did then."""


class Handler:
    """Agents that handle their messages by a function ``handle(turn, message)``.

    What it returns is the answer, as JSON. A message that is not of the type that ``handle`` has it annotated with is
    refused.
    """

    def __init__(
        self,
        name: str,
        handle: Handle,
        *,
        description: str = "",
        every: Every | None = None,
        private: bool | str = False,
    ) -> None:
        if not inspect.iscoroutinefunction(handle):
            raise InvalidInput(f"agent {name!r}: its handler is no `async def` of a turn and a message")
        self.name = checked_definition(name)
        described = description or (inspect.getdoc(handle) or "").partition("\n")[0]
        self.defined = Defined(described, private=checked_private(name, private, every))
        self.every = every
        self._handle = handle
        self._shape = _message_type(name, handle)

    def __repr__(self) -> str:
        return f"Handler({self.name!r})"

    def message(self, body: Any) -> Any:
        """A message as the handler wants it. Raises InvalidInput when it can't be that."""
        try:
            return msgspec.convert(body, self._shape)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"agent {self.name} can't take this message: {error}") from None

    async def handle(self, turn: Turn, message: Any) -> Any:
        """Work at a message."""
        return await self._handle(turn, message)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def rehearsed(self, offered: Iterable[Tool]) -> "Handler":
        """It starts nobody itself."""
        return self


def checked_private(name: str, private: bool | str, every: Every | None) -> bool | str:
    """Whom agents of a definition are about, if that can be said so. Raises InvalidInput."""
    if private is True and every:
        raise InvalidInput(
            f"agent {name!r}: cron is for the agent of that very name, which private=True makes about nobody: "
            "name a person as private, or schedule messages to the instances"
        )
    return checked_id(private, "private") if isinstance(private, str) else private


def agent(
    name: str, *, description: str = "", cron: str = "", zone: str = "UTC", private: bool | str = False
) -> Callable[[Handle], Handler]:
    """Makes agents of an ``async def`` that handles a message; without a description it is its docstring's.

    With ``cron`` the agent ``name`` is sent ``{"schedule", "due", "missed"}`` whenever that is due, as by
    `Board.schedule`. With ``private``, all that an agent works at is about the person that its instance is named after
    (``customer-42`` of ``writer/customer-42``), or the one that this names, and is kept encrypted.
    """
    every = every_of(cron, zone)
    return lambda handle: Handler(name, handle, description=description, every=every, private=private)


def _message_type(name: str, handle: Handle) -> Any:
    parameters = list(inspect.signature(handle).parameters)
    if len(parameters) != 2:
        raise InvalidInput(f"agent {name!r}: its handler takes {len(parameters)} parameters, not a turn and a message")
    try:
        return get_type_hints(handle).get(parameters[1], Any)
    except NameError as error:
        raise InvalidInput(f"agent {name!r}: its handler's annotations can't be read: {error}") from None
