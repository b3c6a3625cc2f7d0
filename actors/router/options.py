"""Which backends could do a task, and what each would probably cost and take. Pure: time and seeds are arguments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.cascade import no_better
from callboard.actors.router.fleet import Fleet
from callboard.actors.router.standing import Standing, not_now, standings
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import estimated_tokens, prompt_length
from callboard.events.task import Task
from callboard.events.task_spec import Blob, Candidates, TaskSpec
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.learning import Expectations
from callboard.projections.load import OUTPUT_SMOOTHING, BackendLoad, Work
from callboard.projections.prefixes import Cache

PERCENT: Final = 10_000

NS_PER_S: Final = 1_000_000_000
NS_PER_DAY: Final = 24 * 60 * 60 * NS_PER_S


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
    held, expected, priority = around.cached, around.expected, spec.priority
    failed = task.backend if task.failure is not None else None
    standing = standings(around.fleet, around.loads, around.caches, around.extra)
    answers = _answers(around.fleet, standing, expected, spec.max_tokens or 0)
    spreads = expected.spreads if around.judged else [0] * len(standing)
    looks = zip(standing, expected.qualities, spreads, answers, strict=True)
    for one, quality, spread, (output, billed, ratio) in looks:
        backend, offered, refusal = one.backend, one.offered, None
        name = backend.id
        # the comparisons in front spare every backend a call for what hardly any task asks
        if picky or window > offered.context or needed != offered.capabilities:
            refusal = _misfit(task, spec, backend, needed, window, quality)
        if refusal is None and task.declined:
            refusal = no_better(task, name, quality)
        if refusal is None and not one.ready and (wait := not_now(backend, one.load, one.out, now)):
            refusal = wait
            later.add(name)
            if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
                until = min(until, backend.until) if until else backend.until
        if refusal is None:
            cached = min(held.get(name, 0), input_tokens) if held else 0
            # a cache that is never reported is never billed for either
            told = cached if cached and one.cache.reports else 0
            cost = backend.price.charge(input_tokens, billed, told) * ratio // PPM
            if spec.max_cost is None or task.charged + cost <= spec.max_cost:
                service = one.service(input_tokens - cached, output)
                options.append(
                    Option(
                        name,
                        cost,
                        service if one.free else one.latency(service, priority, now),
                        input_tokens + output,
                        quality,
                        spread,
                        name == failed,
                        cached,
                        service,
                        one.full,
                        one.room,
                        one.width,
                        one.calls_ahead(priority) if priority else one.out,
                    )
                )
                continue
            refusal = f"would cost {cost} micro-dollars, over max_cost {spec.max_cost}"
        excluded[name] = refusal
    return Survey(tuple(options), excluded, frozenset(later), until, input_tokens)


Answer: TypeAlias = tuple[int, int, int]
"""What to expect of an answer: its tokens, those that it is billed by, and the ratio of that bill in ppm."""


def _answers(fleet: Fleet, standing: Sequence[Standing], expected: Expectations, most: int) -> list[Answer]:
    """What to expect of each backend's answer, of ``most`` so many tokens, or any number if that is 0.

    How long an answer gets does not depend on where a model runs: what all its backends saw is put together, or chance
    would make one of two equal backends look faster, or cheaper.
    """
    outputs = [one.output for one in standing]
    billed, ratios = expected.outputs, expected.ratios
    if fleet.shared:
        billed, ratios = billed.copy(), ratios.copy()
    for places in fleet.shared:
        loads, known = [standing[place].load for place in places], [place for place in places if billed[place]]
        weights = [min(load.answered, OUTPUT_SMOOTHING) for load in loads]
        output, bill, ratio = USUAL_OUTPUT, 0, PPM
        if total := sum(weights):
            output = sum(load.output * weight for load, weight in zip(loads, weights, strict=True)) // total
        if known:
            bill = sum(billed[place] for place in known) // len(known)
            ratio = sum(ratios[place] for place in known) // len(known)
        for place in places:
            outputs[place], billed[place], ratios[place] = output, bill, ratio
    if most:
        outputs = [output if output < most else most for output in outputs]  # noqa: FURB136  min() takes far longer
        billed = [output if output < most else most for output in billed]  # noqa: FURB136
    return [
        (output, bill, ratio) if bill else (output, output, PPM)
        for output, bill, ratio in zip(outputs, billed, ratios, strict=True)
    ]


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
