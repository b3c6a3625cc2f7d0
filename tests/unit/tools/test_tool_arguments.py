"""For any types: what fits the schema arrives as it was meant, and what does not never reaches the function."""

import asyncio
import datetime as dt
import enum
import inspect
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Struct

from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.function_tool import FunctionTool, tool

INFO = CallInfo("agent", "message", "call", "key")

WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"))


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(Struct):
    x: int
    label: str = ""
    after: "Point | None" = None


POINTS = st.recursive(st.builds(Point, WHOLE, TEXT), lambda points: st.builds(Point, WHOLE, TEXT, points), max_leaves=3)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, WHOLE),
    (bool, st.booleans()),
    (float, NUMBERS),
    (str, TEXT),
    (bytes, st.binary()),
    (Color, st.sampled_from(Color)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Point, POINTS),
    (dt.date, st.dates()),
    (int | str | None, WHOLE | TEXT | st.none()),
    (list[Point], st.lists(POINTS, max_size=3)),
    (dict[str, list[float]], st.dictionaries(TEXT, st.lists(NUMBERS, max_size=2), max_size=3)),
    (tuple[int, str], st.tuples(WHOLE, TEXT)),
    (frozenset[int], st.frozensets(WHOLE, max_size=4)),
]


class Asked(Struct):
    """A parameter of a made-up function: its type, whether it has a default, what is given for it (if anything)."""

    type: Any
    default: Any
    given: Any


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    type_, values = draw(st.sampled_from(TYPES))
    default = draw(values) if draw(st.booleans()) else msgspec.UNSET
    leave_out = default is not msgspec.UNSET and draw(st.booleans())
    return Asked(type_, default, msgspec.UNSET if leave_out else draw(values))


PARAMETERS = st.dictionaries(st.sampled_from(["a", "b", "city", "x_1", "_y", "self_", "info"]), asked(), max_size=5)


def made(parameters: dict[str, Asked], seen: list[dict[str, Any]]) -> FunctionTool:
    """A tool with these parameters that tells what it is called with."""

    async def function(**named: Any) -> None:
        seen.append(named)

    ordered = sorted(parameters.items(), key=lambda item: item[1].default is not msgspec.UNSET)
    empty = inspect.Parameter.empty
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=empty if one.default is msgspec.UNSET else one.default,
                annotation=one.type,
            )
            for name, one in ordered
        ]
    )
    function.__annotations__ = {name: one.type for name, one in ordered}
    return tool(function)


def refusal(of: FunctionTool, arguments: str | bytes) -> ToolError | None:
    """How a call is refused; None if it is not."""
    try:
        asyncio.run(of.call(arguments, INFO))
    except ToolError as error:
        return error
    return None


@given(PARAMETERS)
def test_arguments_arrive_as_they_were_meant(parameters):
    """Written as JSON they fit the schema, and are read as the same values; those left out are left out."""
    seen: list[dict[str, Any]] = []
    made_up = made(parameters, seen)
    meant = {name: one.given for name, one in parameters.items() if one.given is not msgspec.UNSET}
    arguments = msgspec.json.encode(meant)
    schema = made_up.offer.parameters
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(msgspec.json.decode(arguments))
    asyncio.run(made_up.call(arguments, INFO))
    assert seen == [meant]


@given(PARAMETERS, st.recursive(st.none() | st.booleans() | WHOLE | NUMBERS | TEXT, st.lists, max_leaves=4), st.data())
def test_what_does_not_fit_never_reaches_the_function(parameters, other, data):
    """Of anything in the place of an argument: either the schema allows it too, or it is refused in one line."""
    seen: list[dict[str, Any]] = []
    made_up = made(parameters, seen)
    meant = {name: one.given for name, one in parameters.items() if one.given is not msgspec.UNSET}
    name = data.draw(st.sampled_from([*parameters, "another"]))
    arguments = msgspec.json.encode(meant | {name: other})
    error = refusal(made_up, arguments)
    if error is None:
        Draft202012Validator(made_up.offer.parameters).validate(msgspec.json.decode(arguments))
        return
    assert error.fault == "arguments"
    assert name in str(error)
    assert "\n" not in str(error)
    assert seen == []


@given(st.binary() | TEXT)
def test_no_arguments_whatever_break_a_tool(arguments):
    """Bytes of any kind are taken, or refused with a ToolError."""
    made_up = made({"a": Asked(int, msgspec.UNSET, 1)}, [])
    error = refusal(made_up, arguments)
    assert error is None or error.fault == "arguments"
