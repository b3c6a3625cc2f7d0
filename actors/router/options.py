"""Which backends could do a task, and what each would probably cost and take. Pure: time and seeds are arguments."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import add, attrgetter
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.cascade import no_better
from callboard.actors.router.fleet import Fleet
from callboard.actors.router.standing import Standing, not_now, standing_of
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.chat import Usage, estimated_tokens, prompt_length
from callboard.events.task import Task
from callboard.events.task_spec import Blob, Candidates, TaskSpec
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.learning import Expectations
from callboard.projections.load import OUTPUT_SMOOTHING, BackendLoad, Work
from callboard.projections.prefixes import Cache

PERCENT: Final = 10_000

MICROSECOND: Final = timedelta(microseconds=1)
NS_PER_S: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_S
NS_PER_DAY: Final = 24 * 60 * NS_PER_MINUTE
LEAST_RELIABLE: Final = 50_000
"""However often a backend fails, no more tries than 20 are expected until one succeeds."""

FORGIVEN: Final = timedelta(minutes=1)
"""A minute after its last failure a backend counts as reliable again: one that nobody asks can't prove it."""


class Option(Struct, frozen=True, gc=False):
    """A backend that can do the task: predicted ``cost`` (micro-dollars), ``latency`` (ns), ``tokens`` (in and out).

    ``quality`` is that of the answer to expect, with the standard deviation ``spread`` of that estimate, in parts per
    million. ``cached`` are the input tokens that it has probably kept; ``service`` is the time of the call once it
    begins.

    ``failed`` says that it was the last to fail this very task, ``full`` that it is new and has enough for now.
    ``width`` is how many calls it makes at a time, ``room`` how many more it could at once, and ``ahead`` how many go
    before this task.
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
    width: int = 1
    ahead: int = 0

    @property
    def capacity(self) -> int:
        """How many such tasks it would do in a day."""
        return max(self.width * NS_PER_DAY // max(self.service, 1), 1)


def candidates(options: Sequence[Option], excluded: Mapping[str, str] = MappingProxyType({})) -> Candidates:
    """How a decision records these options, and why each of the others was left out."""
    cached = tuple(map(attrgetter("cached"), options))
    return Candidates(
        backends=tuple(map(attrgetter("backend"), options)),
        costs=tuple(map(attrgetter("cost"), options)),
        latencies=tuple(map(attrgetter("latency"), options)),
        qualities=tuple(map(attrgetter("quality"), options)),
        cached=cached if any(cached) else (),
        excluded=dict(excluded),
    )


class Survey(Struct, frozen=True):
    """All backends looked at for one task, whose prompt has ``input`` tokens, as estimated.

    ``excluded`` is why others can't do it now, of which ``later`` might be able to by and by; ``until`` is the earliest
    time known for one of them.
    """

    options: tuple[Option, ...]
    excluded: Mapping[str, str]
    later: frozenset[str] = frozenset()
    until: datetime | None = None
    input: int = 0

    def without(self, refused: Mapping[str, str]) -> "Survey":
        """The same, with some options left out for the reason given."""
        if not refused:
            return self
        left_out = {each.backend: refused[each.backend] for each in self.options if each.backend in refused}
        options = tuple(each for each in self.options if each.backend not in refused)
        return replace(self, options=options, excluded={**self.excluded, **left_out})


def required(spec: TaskSpec) -> tuple[str, ...]:
    """The capabilities that a backend must offer: those asked for, ``tools`` and ``schema`` if it is given such."""
    implied = (("schema", spec.schema is not None), ("tools", bool(spec.tools)))
    asked = spec.needs.capabilities
    return (*asked, *(name for name, given in implied if given and name not in asked))


class Surroundings(Struct, frozen=True):
    """What is known of the ``fleet``: the loads, and what the prefix caches hold and how fast they read.

    ``extra`` is work assigned by this router that ``loads`` do not show yet: all tasks, and the tokens and service of
    those that go before this one. ``expected`` is what was learned of each for such a task, ``cached`` are the tokens
    of its prompt that each has kept. ``judged`` says whether any answer ever was: as long as nothing is learned from
    trying what is uncertain, nothing is uncertain.
    """

    fleet: Fleet
    loads: Mapping[str, BackendLoad]
    extra: Mapping[str, Work]
    expected: Expectations
    caches: Mapping[str, Cache]
    cached: Mapping[str, int]
    judged: bool = True


def survey(task: Task, around: Surroundings, now: datetime) -> Survey:
    """Look at every backend."""
    spec = task.spec
    assert spec is not None
    needed, input_tokens = required(spec), prompt_tokens(spec)
    window = max(spec.needs.context or 0, input_tokens + (spec.max_tokens or 0))
    picky = bool(spec.backend or spec.needs.data_policy or spec.min_quality is not None or task.unsuited)
    options, later = [], set()
    excluded: dict[str, str] = {}
    until: datetime | None = None
    extras, caches, held, judged = around.extra, around.caches, around.cached, around.judged
    fleet, expected = around.fleet, around.expected
    loads = [around.loads.get(name, _IDLE) for name in fleet.priors]
    answers = _answers(fleet.backends, loads, expected, spec.max_tokens or sys.maxsize)
    for backend, load, quality, spread in zip(fleet.backends, loads, expected.qualities, expected.spreads, strict=True):
        name, offered = backend.id, backend.spec
        assert offered is not None
        extra, cache = extras.get(name, _NOTHING), caches.get(name, _FRESH)
        standing, refusal = standing_of(backend, load, cache, extra), None
        # the comparisons in front spare every backend a call for what hardly any task asks
        if picky or window > offered.context or needed != offered.capabilities:
            refusal = _misfit(task, spec, backend, needed, window, quality)
        if refusal is None and task.declined:
            refusal = no_better(task, name, quality)
        if refusal is None and not standing.ready and (wait := not_now(backend, load, standing.out, now)):
            refusal = wait
            later.add(name)
            if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
                until = min(until, backend.until) if until else backend.until
        if refusal is None:
            answer = answers[offered.model]
            cached = min(held.get(name, 0), input_tokens) if held else 0
            work = Usage(input_tokens, answer.output, cached)
            cost = _cost(backend, cache, work, answer)
            if spec.max_cost is None or task.charged + cost <= spec.max_cost:
                options.append(_predict(standing, extra, task, work, cost, quality, spread if judged else 0, now))
                continue
            refusal = f"would cost {cost} micro-dollars, over max_cost {spec.max_cost}"
        excluded[name] = refusal
    return Survey(tuple(options), excluded, frozenset(later), until, input_tokens)


_IDLE: Final = BackendLoad()
_NOTHING: Final = Work()
_FRESH: Final = Cache()


class _Answer(Struct, frozen=True, gc=False):
    """What to expect of a model's answer: its tokens, those that it is billed by, and the ratio of that bill in ppm."""

    output: int
    billed: int
    ratio: int


def _answers(
    backends: Sequence[Backend], loads: Sequence[BackendLoad], expected: Expectations, most: int
) -> dict[str, _Answer]:
    """What to expect of each model's answer, of ``most`` so many tokens.

    How long an answer gets does not depend on where a model runs: what all its backends saw is put together, or chance
    would make one of two equal backends look faster, or cheaper.
    """
    sums: dict[str, tuple[int, int, int, int, int]] = {}
    for backend, load, output, ratio in zip(backends, loads, expected.outputs, expected.ratios, strict=True):
        answered = load.answered  # min() would take as long as all the rest
        weight = answered if answered < OUTPUT_SMOOTHING else OUTPUT_SMOOTHING  # noqa: FURB136
        seen = (weight * load.output, weight, output, ratio if output else 0, 1 if output else 0)
        model = backend.spec.model if backend.spec else ""
        sums[model] = tuple(map(add, sums[model], seen)) if model in sums else seen
    return {model: _answer(*seen, most) for model, seen in sums.items()}


def _answer(tokens: int, weights: int, billed: int, ratios: int, known: int, most: int) -> _Answer:
    """What to expect after these sums over a model's backends: weighted tokens, and what was learned of ``known``."""
    output = tokens // weights if weights else USUAL_OUTPUT
    output = output if output < most else most  # noqa: FURB136
    return _Answer(output, min(billed // known, most), ratios // known) if known else _Answer(output, output, PPM)


def _misfit(
    task: Task, spec: TaskSpec, backend: Backend, needed: tuple[str, ...], window: int, quality: int
) -> str | None:
    """Why this backend can never do the task, as both are."""
    offered, needs = backend.spec, spec.needs
    assert offered is not None
    if spec.backend is not None and spec.backend != backend.id:
        return f"the task is pinned to {spec.backend}"
    if missing := [name for name in needed if name not in offered.capabilities]:
        return f"does not offer {', '.join(missing)}"
    if needs.data_policy and (missing := [name for name in needs.data_policy if name not in offered.data_policy]):
        return f"does not promise {', '.join(missing)}"
    if window > offered.context:
        return f"{window} tokens do not fit its window of {offered.context}"
    if spec.min_quality is not None and quality < spec.min_quality * PERCENT:
        return f"quality {quality / PERCENT:.0f} % is under {spec.min_quality} %"
    if backend.id in task.unsuited:
        return "refused this task as invalid"
    return None


def _predict(
    standing: Standing, extra: Work, task: Task, work: Usage, cost: int, quality: int, spread: int, now: datetime
) -> Option:
    """What a call of so much ``work`` would be like there."""
    backend, load, priority = standing.backend, standing.load, task.spec.priority if task.spec else 0
    service = standing.service(work)
    wait = 0 if standing.room > 0 else (load.ahead(priority, standing.width) + extra.service) // standing.width
    if backend.spec and (backend.spec.tpm or backend.spec.rpm):
        wait = max(wait, _limited(backend.spec, standing, extra, priority))
    latency = wait + service
    if load.failed_at is not None:
        latency = latency * PPM // max(_reliability(load, now), LEAST_RELIABLE)
    return Option(
        backend.id,
        cost,
        latency,
        work.input + work.output,
        quality,
        spread,
        task.failure is not None and task.backend == backend.id,
        work.cached,
        service,
        standing.full,
        standing.room,
        standing.width,
        load.calls_ahead(priority) + extra.tasks,
    )


def _limited(spec: BackendSpec, standing: Standing, extra: Work, priority: int) -> int:
    """The time in ns that the limits of tokens and requests a minute make such a task wait."""
    wait = 0
    if spec.tpm:
        wait = (standing.load.tokens_ahead(priority) + extra.tokens) * NS_PER_MINUTE // spec.tpm
    return max(wait, standing.out * NS_PER_MINUTE // spec.rpm) if spec.rpm else wait


def _cost(backend: Backend, cache: Cache, work: Usage, answer: _Answer) -> int:
    """What the call will be billed; a cache that is never reported is never billed for either."""
    cached = work.cached if cache.reports else 0
    same = answer.billed == work.output and cached == work.cached
    usage = work if same else Usage(work.input, answer.billed, cached)
    return backend.price.cost(usage) * answer.ratio // PPM


def _reliability(load: BackendLoad, now: datetime) -> int:
    """How many of its calls are good, in parts per million; failures fade."""
    if load.failed_at is None:  # mostly
        return PPM
    ago = min(max(now - load.failed_at, timedelta(0)), FORGIVEN)
    return load.reliability + (PPM - load.reliability) * (ago // MICROSECOND) // (FORGIVEN // MICROSECOND)


def prompt_tokens(spec: TaskSpec) -> int:
    """An estimate of the tokens that are sent, those of the context included."""
    messages = spec.input if isinstance(spec.input, tuple) else ()
    length = prompt_length(messages, spec.schema, spec.tools) + len(spec.system or "")
    length += spec.shown.characters if spec.shown else 0
    if isinstance(spec.input, Blob):
        length += spec.input.size
    elif isinstance(spec.input, str):
        length += len(spec.input)
    return estimated_tokens(length)
