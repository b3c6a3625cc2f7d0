"""A function's signature as the JSON Schema of its arguments, and JSON arguments as what it is called with."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, NamedTuple, Optional, get_args, get_origin, get_type_hints

import msgspec

from callboard.actors.strict_json import did_you_mean
from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.docstring import Told
from callboard.actors.tools.stray import stray
from callboard.events.errors import InvalidInput

Function = Callable[..., Any]

_EMPTY: Final = inspect.Parameter.empty
_MOST_SHOWN: Final = 20


class Call(NamedTuple):
    """What a function is called with."""

    positional: list[Any]
    named: dict[str, Any]


class _Parameter(NamedTuple):
    name: str
    type: Any
    said: str | None
    default: Any
    positional: bool
    decoder: "msgspec.json.Decoder[Any] | None"
    """None for one that takes the CallInfo."""


class Signature:
    """What ``function``, offered as the tool ``name``, can be called with; ``schema`` is the JSON Schema of it.

    Raises InvalidInput that names the parameter which a model can't be asked for.
    """

    def __init__(self, function: Function, name: str, told: Told) -> None:
        self._name = name
        self._parameters = list(_parameters_of(function, name))
        self._asked = {given.name: given for given in self._parameters if given.decoder is not None}
        self.schema = self._schema(told.parameters)

    def read(self, arguments: str | bytes, info: CallInfo) -> Call:
        """The JSON object ``arguments`` as what to call the function with. Raises ToolError that tells all faults."""
        given = self._object(arguments)
        known = ", ".join(list(self._asked)[:_MOST_SHOWN]) or "it takes none"
        faults: list[str] = []
        for name in given.keys() - self._asked.keys():
            hint = did_you_mean(name, self._asked).removeprefix("; ") or f"known: {known}"
            faults.append(f"unknown {name!r} ({hint})")
        values: dict[str, Any] = {}
        for name, parameter in self._asked.items():
            if name not in given:
                if parameter.default is _EMPTY:
                    faults.append(f"{name!r} is missing")
                continue
            try:
                values[name] = self._value(parameter, given[name])
            except ToolError as error:
                faults.append(str(error))
        if faults:
            raise ToolError(f"arguments of {self._name}: {'; '.join(sorted(faults))}", "arguments")
        return self._call(values, info)

    def _object(self, arguments: str | bytes) -> dict[str, msgspec.Raw]:
        try:
            data = arguments.encode() if isinstance(arguments, str) else arguments
            return msgspec.json.decode(data.strip() or b"{}", type=dict[str, msgspec.Raw])
        except msgspec.ValidationError as error:
            fault = f"must be one JSON object: {error}"
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            fault = f"are not JSON: {error}; send one JSON object such as {{{', '.join(map(_pair, self._asked))}}}"
        raise ToolError(f"arguments of {self._name} {fault}", "arguments")

    def _value(self, parameter: _Parameter, given: msgspec.Raw) -> Any:
        assert parameter.decoder is not None
        schema = self.schema["properties"][parameter.name]
        try:
            value = parameter.decoder.decode(given)
            if "$defs" in self.schema and (found := stray(msgspec.json.decode(given), schema, self.schema["$defs"])):
                hint = did_you_mean(found.key, found.known).removeprefix("; ") or f"known: {', '.join(found.known)}"
                raise ToolError(f"{parameter.name!r}{found.where}: unknown {found.key!r} ({hint})")
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            problem, _, where = str(error).partition(" - at `$")
            if problem.startswith("Invalid enum value") and (choices := self._choices(schema)):
                problem = f"{problem}; use one of {choices}"
            raise ToolError(f"{parameter.name!r}{where.rstrip('`')}: {problem}") from None
        return value

    def _choices(self, schema: dict[str, Any]) -> str:
        if reference := schema.get("$ref"):
            schema = self.schema["$defs"][reference.removeprefix("#/$defs/")]
        return ", ".join(map(repr, schema.get("enum", [])[:_MOST_SHOWN]))

    def _call(self, values: dict[str, Any], info: CallInfo) -> Call:
        call = Call([], {})
        for parameter in self._parameters:
            value = info if parameter.decoder is None else values.get(parameter.name, parameter.default)
            if parameter.positional:
                call.positional.append(value)
            elif parameter.decoder is None or parameter.name in values:
                call.named[parameter.name] = value
        return call

    def _schema(self, descriptions: dict[str, str]) -> dict[str, Any]:
        asked = self._asked.values()
        types = [parameter.type for parameter in asked]
        schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
        properties: dict[str, Any] = {}
        for parameter, schema in zip(asked, schemas, strict=True):
            description = parameter.said or descriptions.get(parameter.name)
            if description and "description" not in schema:
                schema["description"] = description
            if parameter.default is not _EMPTY and (shown := _shown(parameter.default)) is not msgspec.UNSET:
                schema["default"] = shown
            properties[parameter.name] = schema
        for component in components.values():
            if "properties" in component:
                component.setdefault("additionalProperties", False)
        required = [parameter.name for parameter in asked if parameter.default is _EMPTY]
        return {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
            **({"$defs": components} if components else {}),
        }


def _parameters_of(function: Function, name: str) -> Iterator[_Parameter]:
    hints = _hints(function, name)
    for parameter in _signature(function, name).parameters.values():
        where = f"tool {name}: parameter {parameter.name!r}"
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise InvalidInput(f"{where} takes any number of arguments, a model can't be told which: name each one")
        if parameter.name not in hints:
            advice = "make the tool of the bound method" if parameter.name in {"self", "cls"} else "add one such as int"
            raise InvalidInput(f"{where} has no type annotation: {advice}")
        hint = hints[parameter.name]
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        if CallInfo in {hint, *get_args(hint)}:
            yield _Parameter(parameter.name, hint, None, parameter.default, positional, None)
            continue
        said = _description(hint)
        if parameter.default is None:
            hint = Optional[hint]  # noqa: UP045  a hint may be what takes no |
        try:
            msgspec.json.schema(hint)
            decoder = msgspec.json.Decoder(hint)
        except (TypeError, ValueError, NameError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise InvalidInput(f"{where} is of a type that can't be read from JSON: {reason}") from None
        yield _Parameter(parameter.name, hint, said, parameter.default, positional, decoder)


def _signature(function: Function, name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"tool {name}: its parameters can't be seen ({error}): wrap it in a function") from None


def _hints(function: Function, name: str) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise InvalidInput(f"tool {name}: an annotation can't be understood: {error}") from None


def _description(hint: Any) -> str | None:
    """The text in ``Annotated[int, "text"]``."""
    if get_origin(hint) is Annotated:
        return next((said for said in get_args(hint)[1:] if isinstance(said, str)), None)
    return None


def _shown(default: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(default))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return msgspec.UNSET


def _pair(name: str) -> str:
    return f'"{name}": …'
