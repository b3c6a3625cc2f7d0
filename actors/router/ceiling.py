"""The most that a call can cost: a bound of its input, and a cap on its output that the model is held to. Pure."""

from typing import Final

import msgspec

from callboard.events.backend import Backend
from callboard.events.chat import Message, estimated_tokens
from callboard.events.task_spec import Blob, Hold, Shown, TaskSpec
from callboard.projections.bill import USUAL_OUTPUT
from callboard.projections.load import BackendLoad

OUTPUT_FACTOR: Final = 4
"""How many times the predicted output a model may write when the task sets no limit of its own."""

LEAST_OUTPUT: Final = 256
PER_MESSAGE: Final = 16
"""Tokens that a chat template puts around one message, at most."""

PER_CALL: Final = 64
PER_SCHEMA: Final = 1024
"""Tokens of the instructions that a provider adds when tools or a schema are given, which it also writes out anew.

Some add them too when tools were called before, whether any are given or not.
"""


def hold_for(spec: TaskSpec, backend: Backend, load: BackendLoad, budget: str) -> Hold:
    """The money that a call of this task at this backend needs at most, not yet taken from any lease."""
    taken = input_bound(spec)
    written = spec.max_tokens or max(OUTPUT_FACTOR * (load.output or USUAL_OUTPUT), LEAST_OUTPUT)
    if spec.max_tokens is None and backend.spec is not None:
        written = max(min(written, backend.spec.context - estimated_tokens(taken)), 1)
    return Hold(budget, backend.price.ceiling(taken, written), taken, written)


def input_bound(spec: TaskSpec) -> int:
    """Tokens that the prompt can't exceed: a tokeniser never makes more tokens than there are bytes."""
    given = [each for each in (spec.schema, spec.tools) if each]
    declared = sum(PER_SCHEMA + 2 * len(msgspec.json.encode(each)) for each in given)
    system = PER_MESSAGE + len(spec.system.encode()) if spec.system else 0
    called = PER_SCHEMA if not given and _has_calls(spec) else 0
    shown = spec.shown or _NOTHING
    read = PER_MESSAGE * (shown.messages + shown.calls) + shown.size
    return PER_CALL + declared + called + system + read + _text_bound(spec)


_NOTHING: Final = Shown()


def _has_calls(spec: TaskSpec) -> bool:
    """Whether tools were called in what is sent, as far as that can be seen."""
    if spec.shown and spec.shown.calls:
        return True
    if isinstance(spec.input, Blob):
        return spec.input.media == "application/json"
    return not isinstance(spec.input, str) and any(message.tool_calls for message in spec.input)


def _text_bound(spec: TaskSpec) -> int:
    if isinstance(spec.input, Blob):
        # messages in a blob are JSON: what stands around each is longer than what a template puts there
        return PER_MESSAGE + spec.input.size
    if isinstance(spec.input, str):
        return PER_MESSAGE + len(spec.input.encode())
    return sum(PER_MESSAGE + _size(message) for message in spec.input)


def _size(message: Message) -> int:
    calls = sum(PER_MESSAGE + len(f"{call.id}{call.name}{call.arguments}".encode()) for call in message.tool_calls)
    return len(message.content.encode()) + calls + len((message.tool_call_id or "").encode())
