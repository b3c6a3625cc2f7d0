"""JSON Schema: is it one, and does an answer fit it. No reference is followed out of the schema, to the network."""

from typing import Any, Final

import msgspec

from callboard.actors.checks import LONGEST_NOTE, Finding
from callboard.events.errors import InvalidInput
from callboard.events.task import PERFECT

LONGEST_SHOWN: Final = 200


def check_schema(schema: dict[str, Any]) -> None:
    """Refuse what is no JSON Schema. Raises InvalidInput that says where it is wrong."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415  takes 0.1 s, and few tasks have one
    from jsonschema.validators import validator_for  # noqa: PLC0415

    try:
        validator_for(schema, Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise InvalidInput(f"schema is not a JSON Schema: {error.json_path}: {_short(error.message)}") from None
    except Exception as error:
        raise InvalidInput(f"schema is not a JSON Schema: {_short(str(error))}") from None


def fits(schema: dict[str, Any], answer: str) -> Finding | None:
    """Whether the answer is JSON that fits; None when the schema can't be applied, which is not the answer's fault."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  as above
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    try:
        value = msgspec.json.decode(answer.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        return Finding(0, f"not JSON: {error}"[:LONGEST_NOTE])
    try:
        validator = validator_for(schema, Draft202012Validator)(schema, registry=Registry())
        wrong = best_match(validator.iter_errors(value))
    except Exception:  # whatever a strange schema leads to: a reference to nowhere, endless recursion
        return None
    if wrong is None:
        return Finding(PERFECT)
    return Finding(0, f"does not fit its schema: {wrong.json_path}: {_short(wrong.message)}"[:LONGEST_NOTE])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
