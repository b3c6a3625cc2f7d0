"""Which backends could do a task, and what each would probably cost and take. Pure: time and seeds are arguments."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.cascade import no_better
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import Usage, estimated_tokens, prompt_length
from callboard.events.task import Task
from callboard.events.task_spec import Blob, Candidate, TaskSpec
from callboard.projections.bill import PPM
from callboard.projections.learning import Expected
from callboard.projections.load import BackendLoad

TIER_QUALITY: Final = {"small": 600_000, "medium": 750_000, "frontier": 900_000}
"""Quality in parts per million that a tier is taken to have as long as nothing was measured."""

PERCENT: Final = 10_000

DEFAULT_PER_TOKEN: Final = 3_000_000
DEFAULT_PER_OUTPUT: Final = 15_000_000
DEFAULT_FIRST_TOKEN: Final = 300_000_000
NS_PER_MINUTE: Final = 60_000_000_000


class Option(Struct, frozen=True):
    """A backend that can do the task: predicted ``cost`` (micro-dollars), ``latency`` (ns), ``tokens`` (in and out).

    ``quality`` is that of the answer to expect, with the standard deviation ``spread`` of that estimate, in parts per
    million.

    ``failed`` says that it was the last to fail this very task.
    """

    backend: str
    cost: int
    latency: int
    tokens: int
    quality: int
    spread: int = 0
    failed: bool = False

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

    def without(self, refused: Mapping[str, str]) -> "Survey":
        """The same, with some options left out for the reason given."""
        if not refused:
            return self
        left_out = tuple(
            Candidate(each.backend, excluded=refused[each.backend]) for each in self.options if each.backend in refused
        )
        options = tuple(each for each in self.options if each.backend not in refused)
        return replace(self, options=options, excluded=(*self.excluded, *left_out))


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
    expected: Mapping[str, Expected],
    input_tokens: int,
    now: datetime,
) -> Survey:
    """Look at every backend.

    ``extra`` are tokens assigned by this router that ``loads`` do not show yet, ``expected`` what was learned of each
    backend for such a task, ``input_tokens`` the length of its prompt.
    """
    spec = task.spec
    assert spec is not None
    needed = required(spec)
    options, excluded, later = [], [], set()
    until: datetime | None = None
    for name, backend in sorted(backends.items()):
        load = loads.get(name, _IDLE)
        refusal = _misfit(task, spec, backend, needed, input_tokens, expected[name].quality)
        if refusal is None and task.declined:
            refusal = no_better(task, name, expected[name].quality)
        if refusal is None and (wait := _not_now(backend, load, extra.get(name, 0), now)):
            refusal = wait
            later.add(name)
            if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
                until = min(until, backend.until) if until else backend.until
        option = _predict(task, spec, backend, load, extra.get(name, 0), input_tokens, expected[name])
        if refusal is None and spec.max_cost is not None and task.charged + option.cost > spec.max_cost:
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


def _not_now(backend: Backend, load: BackendLoad, extra: int, now: datetime) -> str | None:
    """Why this backend gets no work at the moment."""
    if backend.draining:
        return "is draining"
    if backend.replicas == 0:
        return "is scaled to 0"
    if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
        return f"breaker open until {backend.until.isoformat(timespec='seconds')}: {backend.reason}"
    if backend.breaker is not Breaker.CLOSED and (load.outstanding or extra):
        return "breaker half open, a call is trying it"
    return None


def _predict(
    task: Task, spec: TaskSpec, backend: Backend, load: BackendLoad, extra: int, input_tokens: int, expected: Expected
) -> Option:
    offered = backend.spec
    assert offered is not None
    output = min(expected.output, spec.max_tokens or expected.output)
    per_token = load.per_token or DEFAULT_PER_TOKEN
    per_output = load.per_output if load.answered else DEFAULT_PER_OUTPUT
    lanes = max(backend.replicas * offered.concurrency, 1)
    queued = load.tokens + extra
    wait = queued * per_token // lanes
    if offered.tpm:
        wait = max(wait, queued * NS_PER_MINUTE // offered.tpm)
    if offered.rpm:
        wait = max(wait, len(load.outstanding) * NS_PER_MINUTE // offered.rpm)
    return Option(
        backend=backend.id,
        cost=backend.price.cost(Usage(input_tokens, output)) * expected.ratio // PPM,
        latency=wait + (load.first_token or DEFAULT_FIRST_TOKEN) + output * per_output,
        tokens=input_tokens + output,
        quality=expected.quality,
        spread=expected.spread,
        failed=task.failure is not None and task.backend == backend.id,
    )


def prompt_tokens(spec: TaskSpec) -> int:
    """About how many tokens the prompt has."""
    messages = spec.input if isinstance(spec.input, tuple) else ()
    length = prompt_length(messages, spec.schema, spec.tools) + len(spec.system or "")
    if isinstance(spec.input, Blob):
        length += spec.input.size
    elif isinstance(spec.input, str):
        length += len(spec.input)
    return estimated_tokens(length)
