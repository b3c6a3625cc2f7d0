"""A state of an agent as bytes: what is in the log anyway is left there, so that one with many steps is small.

The value of a step that is done is needed when a handler asks for it, not to decide: it is left `apart`, and found
again in the message of the log that says so.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from types import GenericAlias
from typing import Any, Final

import msgspec
from msgspec import Struct

from callboard.events.agent import AgentState, Asked, Work
from callboard.events.agent_events import NOTHING, Answered, Stepped, Value
from callboard.events.agent_step import Step
from callboard.events.envelope import Envelope
from callboard.events.errors import BrokenChain
from callboard.events.persistent import Map

VERSION: Final = 2
"""Goes up whenever the fold, or the form of the state, changes: older snapshots are void."""

SMALL: Final = 32
"""A text of up to so many characters is kept with its step."""

AT_ONCE: Final = 500


def _plain(kind: type[Struct], **maps: Any) -> Any:
    """A struct like ``kind`` whose maps are plain ones, as msgspec reads them in no time."""
    fields = [(field.name, maps.get(field.name, field.type)) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(kind.__name__, fields, gc=False)


_WORK: Final = _plain(Work, steps=dict[str, Step])
_WORKS: Final = GenericAlias(dict, (str, _WORK))
_AGENT: Final = _plain(
    AgentState,
    work=_WORK | None,
    inbox=_WORKS,
    asked=dict[str, Asked],
    memory=dict[str, Value],
    mailed=dict[str, int],
    heard=dict[str, int],
    keys=dict[str, str],
    keyed=dict[str, str],
    dead=_WORKS,
)
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_AGENT)


def read(data: bytes) -> AgentState:
    """The state that `pieces` were made of. Raises msgspec's errors."""
    state: AgentState = _made(AgentState, _decoder.decode(data))
    return state


def pieces(value: Any) -> Iterator[bytes]:
    """A state (or a part of it) as JSON, in pieces that each take little time."""
    match value:
        case AgentState() | Work():
            yield from _of_struct(value)
        case Map():
            yield from _of_map(value)
        case _:
            yield _encoder.encode(value)


def recalled(name: str, step: Step, message: Sequence[Envelope]) -> Step:
    """The step with its value, from the ``message`` of the log that it was left in. Raises BrokenChain."""
    event = message[step.number].event if step.number < len(message) else None
    match event:
        case Stepped(step=said) if said == name:
            return msgspec.structs.replace(step, value=event.value, apart=False)
        case Answered(message=asked) if asked == step.asked:
            return msgspec.structs.replace(step, value=event.value, apart=False)
    raise BrokenChain(f"the message at {step.at} does not say what became of step {name!r}: history was altered")


def _made(kind: Any, plain: Struct) -> Any:
    return kind(*map(_restored, msgspec.structs.astuple(plain)))


def _restored(part: Any) -> Any:
    if isinstance(part, _WORK):
        return _made(Work, part)
    if isinstance(part, dict):
        works = isinstance(next(iter(part.values()), None), _WORK)
        return Map({key: _made(Work, each) for key, each in part.items()} if works else part)
    return part


def _of_struct(value: Struct) -> Iterator[bytes]:
    before = b"{"
    for name in value.__struct_fields__:
        yield before + _encoder.encode(name) + b":"
        yield from pieces(getattr(value, name))
        before = b","
    yield b"}"


def _of_map(value: Map[Any]) -> Iterator[bytes]:
    items, before = iter(value.items()), b""
    yield b"{"
    while some := dict(islice(items, AT_ONCE)):
        if any(isinstance(item, Work) for item in some.values()):
            for key, item in some.items():
                yield before + _encoder.encode(key) + b":"
                yield from pieces(item)
                before = b","
        else:
            lean = {key: _lean(item) if isinstance(item, Step) else item for key, item in some.items()}
            yield before + _encoder.encode(lean)[1:-1]
            before = b","
    yield b"}"


def _lean(step: Step) -> Step:
    kept = step.value.json
    if not step.at or kept is None or isinstance(kept, int | float) or (isinstance(kept, str) and len(kept) <= SMALL):
        return step
    return Step(
        runs=step.runs,
        tries=step.tries,
        until=step.until,
        rang=step.rang,
        asked=step.asked,
        done=step.done,
        value=NOTHING,
        failure=step.failure,
        on=step.on,
        at=step.at,
        number=step.number,
        apart=True,
    )
