"""Which backends could do a task, and what each would probably cost and take. Pure: time and seeds are arguments."""

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.cascade import no_better
from callboard.actors.router.slow_start import is_full, lanes
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import Usage, estimated_tokens, prompt_length
from callboard.events.task import Task
from callboard.events.task_spec import Blob, Candidate, TaskSpec
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.learning import Expected
from callboard.projections.load import OUTPUT_SMOOTHING, PER_TASK, BackendLoad, Work
from callboard.projections.prefixes import Cache

TIER_QUALITY: Final = {"small": 600_000, "medium": 750_000, "frontier": 900_000}
"""Quality in parts per million that a tier is taken to have as long as nothing was measured."""

PERCENT: Final = 10_000

DEFAULT_PER_OUTPUT: Final = 15_000_000
DEFAULT_FIRST_TOKEN: Final = 300_000_000
MICROSECOND: Final = timedelta(microseconds=1)
NS_PER_S: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_S
NS_PER_DAY: Final = 24 * 60 * NS_PER_MINUTE
LEAST_RELIABLE: Final = 50_000
"""However often a backend fails, no more tries than 20 are expected until one succeeds."""

FORGIVEN: Final = timedelta(minutes=1)
"""A minute after its last failure a backend counts as reliable again: one that nobody asks can't prove it."""


class Option(Struct, frozen=True):
    """A backend that can do the task: predicted ``cost`` (micro-dollars), ``latency`` (ns), ``tokens`` (in and out).

    ``quality`` is that of the answer to expect, with the standard deviation ``spread`` of that estimate, in parts per
    million. ``cached`` are the input tokens that it has probably kept; ``service`` is the time of the call once it
    begins.

    ``failed`` says that it was the last to fail this very task, ``full`` that it is new and has enough for now.
    ``room`` is how many more calls it could make at once, ``capacity`` how many such tasks it would do in a day.
    """

    backend: str
    cost: int
    latency: int
    tokens: int
    quality: int
    spread: int = 0
    failed: bool = False
    cached: int = 0
    service: int = 0
    full: bool = False
    room: int = 0
    capacity: int = 1

    @property
    def candidate(self) -> Candidate:
        """How the decision records it."""
        return Candidate(self.backend, self.cost, self.latency, self.quality, None, self.cached)


class Survey(Struct, frozen=True):
    """All backends looked at for one task, whose prompt has ``input`` tokens, as estimated.

    ``excluded`` are those that can't do it now, of which ``later`` might be able to by and by; ``until`` is the
    earliest time known for one of them.
    """

    options: tuple[Option, ...]
    excluded: tuple[Candidate, ...] = ()
    later: frozenset[str] = frozenset()
    until: datetime | None = None
    input: int = 0

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


class Surroundings(Struct, frozen=True):
    """What is known of the backends: their loads, and what their prefix caches hold and how fast they read.

    ``extra`` is work assigned by this router that ``loads`` do not show yet: all tasks, and the tokens and service of
    those that go before this one. ``expected`` is what was learned of each for such a task, ``cached`` are the tokens
    of its prompt that each has kept.
    """

    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, Work]
    expected: Mapping[str, Expected]
    caches: Mapping[str, Cache]
    cached: Mapping[str, int]


def survey(task: Task, backends: Mapping[str, Backend], around: Surroundings, now: datetime) -> Survey:
    """Look at every backend."""
    spec = task.spec
    assert spec is not None
    needed, input_tokens = required(spec), prompt_tokens(spec)
    options, excluded, later = [], [], set()
    until: datetime | None = None
    # plain copies: a persistent map takes longer to look up
    loads, caches = dict(around.loads.items()), dict(around.caches.items())
    answers = _answers(backends, loads, around.expected, spec.max_tokens or sys.maxsize)
    extras, held = around.extra, around.cached
    for name, backend in sorted(backends.items()):
        load, extra, expected = loads.get(name, _IDLE), extras.get(name, _NOTHING), around.expected[name]
        refusal = _misfit(task, spec, backend, needed, input_tokens, expected.quality)
        if refusal is None and task.declined:
            refusal = no_better(task, name, expected.quality)
        if refusal is None and (wait := not_now(backend, load, len(load.outstanding) + extra.tasks, now)):
            refusal = wait
            later.add(name)
            if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
                until = min(until, backend.until) if until else backend.until
        if refusal is None:
            assert backend.spec is not None
            answer, cache = answers[backend.spec.model], caches.get(name, _UNREAD)
            work = Usage(input_tokens, answer.output, min(held.get(name, 0), input_tokens))
            cost = _cost(backend, cache, work, answer)
            option = _predict(task, backend, load, extra, cache, work, expected, cost, now)
            if spec.max_cost is None or task.charged + option.cost <= spec.max_cost:
                options.append(option)
                continue
            refusal = f"would cost {option.cost} micro-dollars, over max_cost {spec.max_cost}"
        excluded.append(Candidate(name, excluded=refusal))
    return Survey(tuple(options), tuple(excluded), frozenset(later), until, input_tokens)


_IDLE: Final = BackendLoad()
_NOTHING: Final = Work()
_UNREAD: Final = Cache()


class _Answer(NamedTuple):
    """What to expect of a model's answer: its tokens, those that it is billed by, and the ratio of that bill in ppm."""

    output: int
    billed: int
    ratio: int


def _answers(
    backends: Mapping[str, Backend], loads: Mapping[str, BackendLoad], expected: Mapping[str, Expected], most: int
) -> dict[str, _Answer]:
    """What to expect of each model's answer, of ``most`` so many tokens.

    How long an answer gets does not depend on where a model runs: what all its backends saw is put together, or chance
    would make one of two equal backends look faster, or cheaper.
    """
    totals: dict[str, tuple[int, int]] = {}
    learned: dict[str, list[Expected]] = {}
    for name, backend in backends.items():
        if backend.spec is not None:
            model, load = backend.spec.model, loads.get(name, _IDLE)
            weight = min(OUTPUT_SMOOTHING, load.answered)
            tokens, weights = totals.get(model, (0, 0))
            totals[model] = tokens + weight * load.output, weights + weight
            if expected[name].output:
                learned.setdefault(model, []).append(expected[name])
    found = {}
    for model, (tokens, weights) in totals.items():
        output = min(tokens // weights if weights else USUAL_OUTPUT, most)
        known = learned.get(model, ())
        billed = min(sum(each.output for each in known) // len(known), most) if known else output
        ratio = sum(each.ratio for each in known) // len(known) if known else PPM
        found[model] = _Answer(output, billed, ratio)
    return found


def _misfit(
    task: Task, spec: TaskSpec, backend: Backend, needed: tuple[str, ...], input_tokens: int, quality: int
) -> str | None:
    """Why this backend can never do the task, as both are."""
    offered, needs = backend.spec, spec.needs
    assert offered is not None
    if spec.backend is not None and spec.backend != backend.id:
        return f"the task is pinned to {spec.backend}"
    # the same twice, mostly, or nothing: the comparisons in front spare every backend a list
    if needed != offered.capabilities and (missing := [name for name in needed if name not in offered.capabilities]):
        return f"does not offer {', '.join(missing)}"
    if needs.data_policy and (missing := [name for name in needs.data_policy if name not in offered.data_policy]):
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
    backend: Backend,
    load: BackendLoad,
    extra: Work,
    cache: Cache,
    work: Usage,
    expected: Expected,
    cost: int,
    now: datetime,
) -> Option:
    """What a call of so much ``work`` would be like there."""
    name, offered, spec = backend.id, backend.spec, task.spec
    assert offered is not None
    assert spec is not None
    width, out = lanes(backend), len(load.outstanding) + extra.tasks
    service = _service(load, cache, out, width, work)
    wait = (load.ahead(spec.priority, width) + extra.service) // width if out >= width else 0
    if offered.tpm:
        wait = max(wait, (load.tokens_ahead(spec.priority) + extra.tokens) * NS_PER_MINUTE // offered.tpm)
    if offered.rpm:
        wait = max(wait, out * NS_PER_MINUTE // offered.rpm)
    return Option(
        name,
        cost,
        (wait + service) * PPM // max(_reliability(load, now), LEAST_RELIABLE),
        work.input + work.output,
        expected.quality,
        expected.spread,
        task.failure is not None and task.backend == name,
        work.cached,
        service,
        is_full(backend, load, out),
        width - out,
        max(width * NS_PER_DAY // max(service, 1), 1),
    )


def _cost(backend: Backend, cache: Cache, work: Usage, answer: _Answer) -> int:
    """What the call will be billed; a cache that is never reported is never billed for either."""
    usage = Usage(work.input, answer.billed, work.cached if cache.reports else 0)
    return backend.price.cost(usage) * answer.ratio // PPM


def _reliability(load: BackendLoad, now: datetime) -> int:
    """How many of its calls are good, in parts per million; failures fade."""
    if load.failed_at is None:
        return PPM
    ago = min(max(now - load.failed_at, timedelta(0)), FORGIVEN)
    return load.reliability + (PPM - load.reliability) * (ago // MICROSECOND) // (FORGIVEN // MICROSECOND)


def _service(load: BackendLoad, cache: Cache, tasks: int, width: int, work: Usage) -> int:
    """The time in ns to read what is not cached and to write an answer, when so many ``tasks`` are there already.

    As long as nothing was measured, a backend that is full is taken to write at half its pace.
    """
    reading, writing = cache.reading, load.writing
    others = tasks if tasks < width else width - 1
    unread = work.input - work.cached
    first = reading.base + reading.slope * unread if reading.count else load.first_token or DEFAULT_FIRST_TOKEN
    if writing.count:
        return first + work.output * (writing.base + writing.slope * (others + 1) * PER_TASK)
    return first + work.output * DEFAULT_PER_OUTPUT * (width + others) // width


def prompt_tokens(spec: TaskSpec) -> int:
    """An estimate of the tokens that are sent."""
    messages = spec.input if isinstance(spec.input, tuple) else ()
    length = prompt_length(messages, spec.schema, spec.tools) + len(spec.system or "")
    if isinstance(spec.input, Blob):
        length += spec.input.size
    elif isinstance(spec.input, str):
        length += len(spec.input)
    return estimated_tokens(length)
