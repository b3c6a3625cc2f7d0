"""What agents are: a name, and how they handle a message."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, get_type_hints

import msgspec

from callboard.actors.agents.turn import Turn
from callboard.events.agent_events import Defined
from callboard.events.agent_names import checked_definition
from callboard.events.errors import InvalidInput

Handle: TypeAlias = Callable[[Turn, Any], Awaitable[Any]]


class Agent:
    """A definition: all agents ``NAME`` and ``NAME/…`` handle their messages by ``handle(turn, message)``.

    What it returns is the answer, as JSON. A message that is not of the type that ``handle`` has it annotated with is
    refused.
    """

    def __init__(self, name: str, handle: Handle, *, description: str = "") -> None:
        if not inspect.iscoroutinefunction(handle):
            raise InvalidInput(f"agent {name!r}: its handler is no `async def` of a turn and a message")
        self.name = checked_definition(name)
        self.handle = handle
        self._shape = _message_type(name, handle)
        self.defined = Defined(description or (inspect.getdoc(handle) or "").partition("\n")[0])

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def message(self, body: Any) -> Any:
        """A message as the handler wants it. Raises InvalidInput when it can't be that."""
        try:
            return msgspec.convert(body, self._shape)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"agent {self.name} can't take this message: {error}") from None


def agent(name: str, *, description: str = "") -> Callable[[Handle], Agent]:
    """Makes an `Agent` of an ``async def`` that handles a message; without a description it is its docstring's."""
    return lambda handle: Agent(name, handle, description=description)


def _message_type(name: str, handle: Handle) -> Any:
    parameters = list(inspect.signature(handle).parameters)
    if len(parameters) != 2:
        raise InvalidInput(f"agent {name!r}: its handler takes {len(parameters)} parameters, not a turn and a message")
    try:
        return get_type_hints(handle).get(parameters[1], Any)
    except NameError as error:
        raise InvalidInput(f"agent {name!r}: its handler's annotations can't be read: {error}") from None
