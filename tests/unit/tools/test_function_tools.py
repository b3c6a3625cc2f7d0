"""Functions as tools: what a model is shown, which arguments are taken, and how a call fails."""

import dataclasses
import enum
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest
from msgspec import Meta, Struct

from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.function_tool import FunctionTool, as_tool, tool
from callboard.events.chat import Tool
from callboard.events.errors import CallboardError, InvalidInput

INFO = CallInfo("agent-1", "message-1", "call-1", "key-1")


class Address(Struct):
    city: str
    number: int = 1


@dataclasses.dataclass
class Item:
    name: str
    at: list[Address]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Options(TypedDict, total=False):
    color: str


async def failure(of: FunctionTool, arguments: str | bytes) -> ToolError:
    with pytest.raises(ToolError) as told:
        await of.call(arguments, INFO)
    assert "\n" not in str(told.value)
    return told.value


def test_a_model_is_shown_name_description_and_schema():
    """The schema comes from the annotations, descriptions from docstring, Meta or a text in Annotated."""

    @tool
    def look_up(
        city: str,
        days: Annotated[int, Meta(ge=1, le=9)] = 3,
        unit: Annotated[Literal["C", "F"], "of the temperatures"] = "C",
        note: str = None,  # type: ignore[assignment]  # noqa: RUF013
    ) -> str:
        """Look up the weather.

        Args:
            city: its name,
                in English
            days (int): how many

        Returns:
            A text.
        """
        return city

    assert look_up.offer == Tool(
        "look_up",
        "Look up the weather.\n\nReturns:\n    A text.",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "its name, in English"},
                "days": {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many", "default": 3},
                "unit": {"enum": ["C", "F"], "description": "of the temperatures", "default": "C"},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    )


def test_nested_types_are_closed_and_referred_to():
    """Structs, dataclasses, TypedDicts and enums are definitions; objects with fields take no others."""

    @tool
    def order(item: Item, size: Size = Size.SMALL, options: Options | None = None) -> None: ...

    schema = order.offer.parameters
    assert schema["properties"]["item"] == {"$ref": "#/$defs/Item"}
    assert schema["properties"]["size"] == {"$ref": "#/$defs/Size", "default": "small"}
    assert schema["$defs"]["Size"] == {"title": "Size", "enum": ["large", "small"]}
    closed = [name for name, definition in schema["$defs"].items() if definition.get("additionalProperties") is False]
    assert sorted(closed) == ["Address", "Item", "Options"]


def test_a_tool_stays_a_function():
    """It keeps its name and docstring, and can be called as before."""

    @tool(approval=True, once=True, timeout_s=5, max_bytes=100)
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__, add.name) == ("add", "Add.", "add")
    assert (add.approval, add.once, add.timeout_s, add.max_bytes) == (True, True, 5, 100)
    assert as_tool(add) is add
    assert as_tool(add.function).approval is False
    assert tool(add.function, name="plus").offer.name == "plus"


async def test_call_info_is_told_not_asked_for():
    """A parameter annotated CallInfo is in no schema, and gets whom the call is for."""

    @tool
    async def whose(info: CallInfo, again: CallInfo | None = None) -> list[str]:
        assert again is info
        return [info.agent, info.message, info.call, info.key]

    assert whose.offer.parameters["properties"] == {}
    assert await whose.call("", INFO) == ["agent-1", "message-1", "call-1", "key-1"]
    assert "it takes none" in str(await failure(whose, '{"info": 1}'))


async def test_values_are_what_json_knows():
    """Structs and the like come back as maps; nested arguments arrive as their types."""

    @tool
    def order(item: Item, size: Size = Size.LARGE) -> dict[str, Any]:
        assert isinstance(item.at[0], Address)
        return {"item": item, "size": size}

    value = await order.call('{"item": {"name": "tea", "at": [{"city": "Goa"}]}}', INFO)
    assert value == {"item": {"name": "tea", "at": [{"city": "Goa", "number": 1}]}, "size": "large"}


async def test_positional_only_defaults_and_partials():
    """Parameters of any kind are asked for by name; what a partial has set is a default."""

    def power(base: int, exponent: int = 2, /, *, plus: int = 0) -> int:
        return base**exponent + plus

    assert await tool(power).call('{"base": 3, "plus": 1}', INFO) == 10
    assert await tool(functools.partial(power, plus=5)).call(b'{"base": 3, "exponent": 3}', INFO) == 32


async def test_methods_and_callable_objects():
    """Bound methods and objects that can be called are functions too."""

    class Counter:
        """Counts."""

        def __init__(self) -> None:
            self.count = 0

        def up(self, by: int) -> int:
            """Count up."""
            self.count += by
            return self.count

        async def __call__(self, by: int) -> int:
            return self.up(by)

    counter = Counter()
    assert await as_tool(counter.up).call('{"by": 2}', INFO) == 2
    assert await tool(counter, name="count").call('{"by": 2}', INFO) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{", 'are not JSON: Input data was truncated; send one JSON object such as {"city": …, "days": …'),
        ('{"city": "\\ud800"}', "are not JSON"),
        (b'{"city": "\xff"}', "'city'"),
        ("[]", "must be one JSON object: Expected `object`, got `array`"),
        ("{}", "'at' is missing; 'city' is missing"),
        ('{"city": 1, "at": {"city": ""}}', "'city': Expected `str`, got `int`"),
        ('{"city": "", "at": {"city": ""}, "days": "3"}', "'days': Expected `int`, got `str`"),
        ('{"city": "", "at": {"city": ""}, "days": 3.5}', "'days': Expected `int`, got `float`"),
        ('{"city": "", "at": {"city": ""}, "dyas": 3}', "unknown 'dyas' (did you mean 'days'?)"),
        ('{"city": "", "at": {"city": ""}, "x": 3}', "unknown 'x' (known: city, days, at, size)"),
        ('{"city": "", "at": {"city": 5}}', "'at'.city: Expected `str`, got `int`"),
        ('{"city": "", "at": {"city": "", "numbre": 5}}', "'at': unknown 'numbre' (did you mean 'number'?)"),
        ('{"city": "", "at": {"city": ""}, "size": "big"}', "Invalid enum value 'big'; use one of 'large', 'small'"),
        ('{"city": "", "at": ' + "[" * 5000 + "]" * 5000 + "}", "arguments of look_up"),
    ],
)
async def test_arguments_are_read_strictly(arguments, told):
    """What does not fit is refused in one line that says what, where, and what was probably meant."""

    @tool
    def look_up(city: str, days: int = 1, *, at: Address, size: Size = Size.SMALL) -> str:
        raise AssertionError

    error = await failure(look_up, arguments)
    assert error.fault == "arguments"
    assert str(error).startswith("arguments of look_up")
    assert told in str(error)


async def test_all_faults_are_told_at_once():
    """So that a model mends them in one turn."""

    @tool
    def look_up(city: str, days: int) -> str: ...

    error = await failure(look_up, '{"ctiy": "Goa", "days": "x"}')
    assert str(error) == (
        "arguments of look_up: 'city' is missing; 'days': Expected `int`, got `str`; "
        "unknown 'ctiy' (did you mean 'city'?)"
    )


def no_annotation(x): ...


def any_number(*numbers: int): ...


def any_names(**names: int): ...


def not_json(x: complex): ...


def function_inside(x: list[Callable[[], int]]): ...


def two_structs(x: Address | Item): ...


def unresolved(x: "Nowhere"): ...  # type: ignore[name-defined]  # noqa: F821


def yields(x: int):
    yield x


class WithMethod:
    def method(self, x: int): ...


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (no_annotation, "tool no_annotation: parameter 'x' has no type annotation: add one such as int"),
        (any_number, "parameter 'numbers' takes any number of arguments"),
        (any_names, "parameter 'names' takes any number of arguments"),
        (not_json, "parameter 'x' is of a type that can't be read from JSON: type <class 'complex'> is not supported"),
        (function_inside, "parameter 'x' is of a type that can't be read from JSON"),
        (two_structs, "more than one dict-like type"),
        (unresolved, "an annotation can't be understood: name 'Nowhere' is not defined"),
        (yields, "let it return a list"),
        (WithMethod.method, "parameter 'self' has no type annotation: make the tool of the bound method"),
        (WithMethod, "give a function or a bound method"),
        (3, "give a function or a bound method"),
        (lambda: 1, "the name of a tool '<lambda>' is not valid"),
    ],
)
def test_what_can_be_no_tool_says_why(what, told):
    """One line that names the parameter."""
    with pytest.raises(InvalidInput) as refused:
        as_tool(what)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_options_are_checked():
    """A tool of a tool, a timeout of nothing, a limit of nothing."""

    def fine() -> None: ...

    for options in ({"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_bytes": 0}, {"name": "a.b"}):
        with pytest.raises(InvalidInput):
            tool(fine, **options)
    with pytest.raises(InvalidInput, match="is a tool already"):
        tool(tool(fine), name="other")


async def test_results_have_a_limit():
    """The size and the limit are told."""

    @tool(max_bytes=1000)
    def much() -> str:
        return "x" * 999

    error = await failure(much, "")
    assert (error.fault, str(error)) == (
        "result",
        "tool much returned 1,001 bytes, over its limit of 1,000: ask it for less",
    )


@pytest.mark.parametrize("value", [object(), iter([]), {(1, 2): 3}, "\ud800", 2 + 1j, ValueError("x")])
async def test_results_must_be_json(value):
    """What can't be written is named."""

    @tool
    def odd() -> Any:
        return value

    error = await failure(odd, "{}")
    assert error.fault == "result"
    assert f"tool odd returned {type(value).__name__}, which can't be written as JSON" in str(error)


async def test_results_without_end_are_refused():
    """A list that holds itself."""

    @tool
    async def endless() -> list[Any]:
        value: list[Any] = []
        value.append(value)
        return value

    assert (await failure(endless, "{}")).fault == "result"


@pytest.mark.parametrize("error", [ValueError("not\nso"), StopIteration(), SystemExit(3), KeyError("x")])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_a_tool_raises_is_told(error, kind):
    """Its type and message; the node lives on, even if the tool says exit."""

    def fails() -> None:
        raise error

    async def fails_too() -> None:
        raise error

    told = await failure(tool(fails if kind == "sync" else fails_too, name="fails"), "{}")
    assert told.fault == "failed"
    if not isinstance(error, StopIteration):  # a coroutine can't raise it: Python says so instead
        assert str(told) == f"tool fails raised {type(error).__name__}: {' '.join(str(error).split())}"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_tool_may_say_itself_what_is_wrong(kind):
    """A ToolError of the tool's own is told without further words."""

    def fails() -> None:
        raise ToolError("The shop is closed.\nTry tomorrow.", "unavailable")

    async def fails_too() -> None:
        fails()

    told = await failure(as_tool(fails if kind == "sync" else fails_too), "{}")
    assert (str(told), told.fault) == ("The shop is closed. Try tomorrow.", "unavailable")
    assert isinstance(told, CallboardError)
