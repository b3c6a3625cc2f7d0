"""Which backends could do a task, and what each would probably cost and take. Pure: time and seeds are arguments."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from callboard.actors.router.slow_start import is_full, lanes
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import Usage, estimated_tokens, prompt_length
from callboard.events.task import Task
from callboard.events.task_spec import Blob, Candidate, TaskSpec
from callboard.projections.load import PPM, BackendLoad

TIER_QUALITY: Final = {"small": 600_000, "medium": 750_000, "frontier": 900_000}
"""Quality in parts per million that a tier is taken to have as long as nothing was measured."""

PERCENT: Final = 10_000

DEFAULT_OUTPUT: Final = 256
DEFAULT_PER_TOKEN: Final = 3_000_000
DEFAULT_PER_OUTPUT: Final = 15_000_000
DEFAULT_FIRST_TOKEN: Final = 300_000_000
MICROSECOND: Final = timedelta(microseconds=1)
NS_PER_S: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_S
LEAST_RELIABLE: Final = 50_000
"""However often a backend fails, no more tries than 20 are expected until one succeeds."""

FORGIVEN: Final = timedelta(minutes=1)
"""A minute after its last failure a backend counts as reliable again: one that nobody asks can't prove it."""


class Option(Struct, frozen=True):
    """A backend that can do the task: predicted ``cost`` (micro-dollars), ``latency`` (ns), ``tokens`` (in and out).

    ``quality`` is that of the answer to expect, in parts per million.

    ``failed`` says that it was the last to fail this very task, ``full`` that it is new and has enough for now.
    ``room`` is how many more calls it could make at once, ``capacity`` the tokens that it works off in a second.
    """

    backend: str
    cost: int
    latency: int
    tokens: int
    quality: int
    failed: bool = False
    full: bool = False
    room: int = 0
    capacity: int = 1

    @property
    def candidate(self) -> Candidate:
        """How the decision records it."""
        return Candidate(self.backend, self.cost, self.latency, self.quality)


class Survey(Struct, frozen=True):
    """All backends looked at for one task.

    ``excluded`` are those that can't do it now, of which ``later`` might be able to by and by; ``until`` is the
    earliest time known for one of them.
    """

    options: tuple[Option, ...]
    excluded: tuple[Candidate, ...] = ()
    later: frozenset[str] = frozenset()
    until: datetime | None = None


def required(spec: TaskSpec) -> tuple[str, ...]:
    """The capabilities that a backend must offer: those asked for, ``tools`` and ``schema`` if it is given such."""
    implied = (("schema", spec.schema is not None), ("tools", bool(spec.tools)))
    asked = spec.needs.capabilities
    return (*asked, *(name for name, given in implied if given and name not in asked))


def survey(
    task: Task,
    backends: Mapping[str, Backend],
    loads: Mapping[str, BackendLoad],
    extra: Mapping[str, int],
    qualities: Mapping[str, int],
    now: datetime,
    taken: Mapping[str, int],
) -> Survey:
    """Look at every backend.

    ``extra`` and ``taken`` are the tokens and tasks assigned by this router that ``loads`` do not show yet,
    ``qualities`` the quality to expect of each backend for this task, in parts per million.
    """
    spec = task.spec
    assert spec is not None
    needed, input_tokens = required(spec), prompt_tokens(spec)
    options, excluded, later = [], [], set()
    until: datetime | None = None
    for name, backend in sorted(backends.items()):
        load = loads.get(name, _IDLE)
        refusal = _misfit(task, spec, backend, needed, input_tokens, qualities[name])
        out = len(load.outstanding) + taken.get(name, 0)
        if refusal is None and (wait := not_now(backend, load, out, now)):
            refusal = wait
            later.add(name)
            if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
                until = min(until, backend.until) if until else backend.until
        option = _predict(task, spec, backend, load, extra.get(name, 0), out, input_tokens, qualities[name], now)
        if refusal is None and spec.max_cost is not None and task.cost + option.cost > spec.max_cost:
            refusal = f"would cost {option.cost} micro-dollars, over max_cost {spec.max_cost}"
        if refusal is None:
            options.append(option)
        else:
            excluded.append(Candidate(name, excluded=refusal))
    return Survey(tuple(options), tuple(excluded), frozenset(later), until)


_IDLE: Final = BackendLoad()


def _misfit(
    task: Task, spec: TaskSpec, backend: Backend, needed: tuple[str, ...], input_tokens: int, quality: int
) -> str | None:
    """Why this backend can never do the task, as both are."""
    offered, needs = backend.spec, spec.needs
    assert offered is not None
    if spec.backend is not None and spec.backend != backend.id:
        return f"the task is pinned to {spec.backend}"
    if missing := [capability for capability in needed if capability not in offered.capabilities]:
        return f"does not offer {', '.join(missing)}"
    if missing := [policy for policy in needs.data_policy if policy not in offered.data_policy]:
        return f"does not promise {', '.join(missing)}"
    window = max(needs.context or 0, input_tokens + (spec.max_tokens or 0))
    if window > offered.context:
        return f"{window} tokens do not fit its window of {offered.context}"
    if spec.min_quality is not None and quality < spec.min_quality * PERCENT:
        return f"quality {quality / PERCENT:.0f} % is under {spec.min_quality} %"
    if backend.id in task.unsuited:
        return "refused this task as invalid"
    return None


def not_now(backend: Backend, load: BackendLoad, out: int, now: datetime) -> str | None:
    """Why this backend, with ``out`` tasks assigned to it, gets no work at the moment."""
    if backend.draining:
        return "is draining"
    if backend.replicas == 0:
        return "is scaled to 0"
    if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
        return f"breaker open until {backend.until.isoformat(timespec='seconds')}: {backend.reason}"
    if backend.breaker is not Breaker.CLOSED and out:
        return "breaker half open, a call is trying it"
    if load.suspect and is_full(backend, load, out):
        return "in its slow start"
    return None


def _predict(
    task: Task,
    spec: TaskSpec,
    backend: Backend,
    load: BackendLoad,
    extra: int,
    out: int,
    input_tokens: int,
    quality: int,
    now: datetime,
) -> Option:
    offered = backend.spec
    assert offered is not None
    output = load.output or DEFAULT_OUTPUT
    if spec.max_tokens:
        output = min(output, spec.max_tokens)
    per_token = load.per_token or DEFAULT_PER_TOKEN
    per_output = load.per_output if load.answered else DEFAULT_PER_OUTPUT
    width = lanes(backend)
    queued = load.ahead(spec.priority) + extra
    wait = queued * per_token // width
    if offered.tpm:
        wait = max(wait, queued * NS_PER_MINUTE // offered.tpm)
    if offered.rpm:
        wait = max(wait, out * NS_PER_MINUTE // offered.rpm)
    latency = wait + (load.first_token or DEFAULT_FIRST_TOKEN) + output * per_output
    return Option(
        backend=backend.id,
        cost=backend.price.cost(Usage(input_tokens, output)),
        latency=latency * PPM // max(_reliability(load, now), LEAST_RELIABLE),
        tokens=input_tokens + output,
        quality=quality,
        failed=task.failure is not None and task.backend == backend.id,
        full=is_full(backend, load, out),
        room=width - out,
        capacity=max(width * NS_PER_S // max(per_token, 1), 1),
    )


def _reliability(load: BackendLoad, now: datetime) -> int:
    """How many of its calls are good, in parts per million; failures fade."""
    if load.failed_at is None:
        return PPM
    ago = min(max(now - load.failed_at, timedelta(0)), FORGIVEN)
    return load.reliability + (PPM - load.reliability) * (ago // MICROSECOND) // (FORGIVEN // MICROSECOND)


def prompt_tokens(spec: TaskSpec) -> int:
    """An estimate of the tokens that are sent."""
    messages = spec.input if isinstance(spec.input, tuple) else ()
    length = prompt_length(messages, spec.schema, spec.tools) + len(spec.system or "")
    if isinstance(spec.input, Blob):
        length += spec.input.size
    elif isinstance(spec.input, str):
        length += len(spec.input)
    return estimated_tokens(length)
