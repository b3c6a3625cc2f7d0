"""Fields deep inside of a value that its JSON Schema knows nothing of: a reader would drop them without a word."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

_Schema = Mapping[str, Any]


class Stray(NamedTuple):
    """The field ``key`` of the object at ``where`` (``[0].address``), and the fields that are ``known`` there."""

    where: str
    key: str
    known: tuple[str, ...]


def stray(value: Any, schema: _Schema, definitions: _Schema) -> Stray | None:
    """The first field in ``value``, a value that fits, which ``schema`` does not name; None if there is none."""
    schema = _resolved(schema, definitions)
    if "anyOf" in schema:
        alternatives = (_resolved(option, definitions) for option in schema["anyOf"])
        found = [stray(value, option, definitions) for option in alternatives if _is_for(option, value)]
        return None if not found or None in found else found[0]
    if isinstance(value, dict):
        properties = schema.get("properties")
        if properties is not None:
            for key in value:
                if key not in properties:
                    return Stray("", key, tuple(properties))
        others = schema.get("additionalProperties")
        return _first(
            ((f".{key}", item, (properties or {}).get(key, others)) for key, item in value.items()), definitions
        )
    if isinstance(value, list):
        listed = zip_longest(value, schema.get("prefixItems", ())[: len(value)], fillvalue=schema.get("items"))
        return _first(((f"[{place}]", item, one) for place, (item, one) in enumerate(listed)), definitions)
    return None


def _first(items: Iterable[tuple[str, Any, Any]], definitions: _Schema) -> Stray | None:
    for step, item, schema in items:
        if isinstance(schema, Mapping) and (found := stray(item, schema, definitions)):
            return found._replace(where=step + found.where)
    return None


def _resolved(schema: _Schema, definitions: _Schema) -> _Schema:
    reference = schema.get("$ref")
    found: _Schema = definitions[reference.removeprefix("#/$defs/")] if reference else schema
    return found


def _is_for(schema: _Schema, value: Any) -> bool:
    if isinstance(value, dict):
        return schema.get("type") in {None, "object"}
    return not isinstance(value, list) or schema.get("type") in {None, "array"}
