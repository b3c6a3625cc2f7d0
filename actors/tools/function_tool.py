"""Typed Python functions as tools: what a model is shown follows from annotations and docstring."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, overload

import msgspec
import structlog

from callboard.actors.tools.contract import MAX_BYTES, TIMEOUT_S, CallInfo, ToolError, encoded, raised
from callboard.actors.tools.docstring import told
from callboard.actors.tools.running import Threads, within
from callboard.actors.tools.signature import Call, Function, Signature
from callboard.events.chat import Tool
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

_log = structlog.get_logger(__name__)


class FunctionTool:
    """A function that a model may call. ``offer`` is what the model is shown; calling it calls the function itself.

    Arguments are read strictly, by the annotations; a parameter annotated `CallInfo` is not asked for, but told whom
    the call is for. With ``approval`` a person is asked before each call. With ``once`` a call that was interrupted, by
    a crash say, is never repeated; without, it is repeated under the same key. A call may take ``timeout_s`` seconds,
    and return up to ``max_bytes`` bytes of JSON.

    A function that is not ``async`` runs in a thread of its own, which can't be stopped: one that is late is given up.
    Raises InvalidInput if the function can't be a tool.
    """

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        approval: bool = False,
        once: bool = False,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.function = function
        self.name = checked_id(_name_of(function) if name is None else name, "the name of a tool")
        _check(function, self.name)
        if not 0 < timeout_s < math.inf:
            raise InvalidInput(f"tool {self.name}: timeout_s must be a number of seconds over 0, got {timeout_s}")
        if max_bytes < 1:
            raise InvalidInput(f"tool {self.name}: max_bytes must be at least 1, got {max_bytes}")
        self.approval = approval
        self.once = once
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        said = told(inspect.getdoc(_inner(function)))
        self._signature = Signature(function, self.name, said)
        self._threads = None if _is_async(function) else Threads(self.name)
        self.offer = Tool(self.name, said.description, self._signature.schema)
        functools.update_wrapper(self, _inner(function), updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were no tool."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"FunctionTool({self.name})"

    async def call(self, arguments: str | bytes, info: CallInfo) -> Any:
        """Call the function with a JSON object, and return its value as JSON knows it.

        Raises ToolError if the arguments don't fit, the function raises, takes too long, or returns too much or what is
        no JSON. If the caller is cancelled, so is an ``async`` function.
        """
        return msgspec.json.decode(await self.call_json(arguments, info))

    async def call_json(self, arguments: str | bytes, info: CallInfo) -> bytes:
        """As `call`, but the value is JSON text."""
        return await within(self._work(self._signature.read(arguments, info)), self.timeout_s, self.name)

    async def _work(self, call: Call) -> bytes:
        try:
            if self._threads is None:
                value = self.function(*call.positional, **call.named)
            else:
                value = await self._threads.run(functools.partial(self._in_thread, call))
            if isinstance(value, _Done):
                return value.unwrapped()
            return encoded(self.name, await value, self.max_bytes)
        except ToolError:
            raise
        except (Exception, SystemExit) as error:
            raise self._raised(error) from error

    def _in_thread(self, call: Call) -> Any:
        """The value, encoded where that holds up nobody; or what is still to be awaited."""
        try:
            value = self.function(*call.positional, **call.named)
            return value if inspect.isawaitable(value) else _Done(encoded(self.name, value, self.max_bytes))
        except BaseException as error:  # the thread ends here: nothing else could tell of it
            return _Done(self._raised(error))

    def _raised(self, error: BaseException) -> ToolError:
        if not isinstance(error, ToolError):
            _log.warning("a tool raised", tool=self.name, exc_info=error)
        return raised(self.name, error)


class _Done(msgspec.Struct, frozen=True):
    """How a call in a thread ended."""

    outcome: bytes | ToolError

    def unwrapped(self) -> bytes:
        if isinstance(self.outcome, ToolError):
            raise self.outcome
        return self.outcome


@overload
def tool(fn: Function, /) -> FunctionTool: ...


@overload
def tool(
    fn: Function,
    /,
    *,
    name: str | None = None,
    approval: bool = False,
    once: bool = False,
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = MAX_BYTES,
) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    approval: bool = False,
    once: bool = False,
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = MAX_BYTES,
) -> Callable[[Function], FunctionTool]: ...


def tool(
    fn: Function | None = None,
    /,
    *,
    name: str | None = None,
    approval: bool = False,
    once: bool = False,
    timeout_s: float = TIMEOUT_S,
    max_bytes: int = MAX_BYTES,
) -> FunctionTool | Callable[[Function], FunctionTool]:
    """Make a `FunctionTool` of a function: ``@tool``, ``@tool(approval=True)`` or ``tool(function, name="find")``."""

    def made(function: Function) -> FunctionTool:
        return FunctionTool(function, name=name, approval=approval, once=once, timeout_s=timeout_s, max_bytes=max_bytes)

    return made if fn is None else made(fn)


def as_tool(what: Any) -> FunctionTool:
    """A tool as it is, a function as a tool. Raises InvalidInput that says why something can't be one."""
    return what if isinstance(what, FunctionTool) else FunctionTool(what)


def _check(function: Any, name: str) -> None:
    if isinstance(function, FunctionTool):
        raise InvalidInput(f"tool {name} is a tool already: give its function to change what it is offered as")
    if isinstance(function, type) or not callable(function):
        raise InvalidInput(f"tool {name} is {function!r}, no function: give a function or a bound method")
    if inspect.isgeneratorfunction(_inner(function)) or inspect.isasyncgenfunction(_inner(function)):
        raise InvalidInput(f"tool {name} yields its results one by one: let it return a list")


def _name_of(function: Any) -> str:
    inner = _inner(function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def _inner(function: Any) -> Any:
    """What a partial, or several of them, will call."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_async(function: Any) -> bool:
    inner = _inner(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004
