"""A replica of a backend: takes its assignments from the log, calls the model, appends what came of it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, TypeAlias

import structlog

from callboard.actors.backend.begun import begun
from callboard.actors.backend.call import Call, call_id
from callboard.actors.backend.calls_under_way import HEEDED, CallsUnderWay
from callboard.actors.backend.ending import Endings
from callboard.actors.backend.funds import refusal, within
from callboard.actors.backend.health import Admission, Health
from callboard.actors.backend.heartbeat import Heart
from callboard.actors.backend.pace import Limits
from callboard.actors.backend.providers.provider import CallLost, FailureKind, Provider, ProviderError, Resumable
from callboard.actors.backend.slots import Slots
from callboard.actors.checks import BUILT_IN, Check
from callboard.actors.contexts import Contexts, contexts_on
from callboard.actors.discretion import discreet
from callboard.actors.loop import Kept, Later, Loop
from callboard.actors.outcome import answer
from callboard.actors.projector import Projector
from callboard.actors.secrets import NO_SECRETS, Secrets
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, Entities, Loaded
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import parse
from callboard.events import trace
from callboard.events.backend import Backend
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.errors import IllegalTransition
from callboard.events.money import Price
from callboard.events.placement import Hedged, call_on
from callboard.events.task import (
    ENDED,
    Assigned,
    DeadLettered,
    Released,
    Spent,
    Started,
    Task,
    TaskEvent,
)
from callboard.events.task_subjects import work_queue, work_subject
from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.tasks import TASKS

ACK_WAIT_S: Final = 2.0
LOST_S: Final = 0.2
"""After how long the work of a lost call is handed out again."""

Work: TypeAlias = Assigned | Hedged
Wish: TypeAlias = Callable[[Task], TaskEvent]

_log = structlog.get_logger(__name__)


class Worker:
    """One replica of the backend called ``name``; ``tasks`` are the tasks as it changes them.

    ``contexts`` are those that tasks read, if it shares with others what is held in memory of them. What a provider
    says of a failure is told without the ``secrets``. It makes no more calls at a time than the backend's concurrency,
    and than ``most`` if that is not 0.
    """

    def __init__(
        self,
        bus: Bus,
        name: str,
        source: str,
        provider: Provider,
        tasks: Entities[Task],
        backends: Entities[Backend],
        projector: Projector,
        checks: Mapping[str, Check] = BUILT_IN,
        contexts: Contexts | None = None,
        secrets: Secrets = NO_SECRETS,
        most: int = 0,
    ) -> None:
        self._bus = bus
        self._name = name
        self._source = source
        self._provider = provider
        self._tasks = tasks
        self._projector = projector
        self._endings = Endings(bus, name, tasks, checks)
        self._contexts = contexts or contexts_on(bus, source)
        self._secrets = secrets
        self._health = Health(name, backends, projector)
        self._limits = Limits()
        self._calls = CallsUnderWay()
        self._heart = Heart(bus, name, source, self._calls, projector)
        self._held: dict[str, asyncio.Future[Later | Kept | None]] = {}
        self._slots = Slots(0)
        self._most = most
        self._lanes: dict[int, Loop] = {}
        self._priorities = {0}
        self._new_priority = asyncio.Event()
        projector.watch(self._watch, Assigned, Hedged, *HEEDED)

    async def run(self) -> None:
        """Work until cancelled. Calls under way then are given up, and made again by whoever takes them next.

        Each priority has a queue of its own, joined when there is first work of it; all share the backend's slots.
        """
        spec = self._backend().spec
        if spec is None:
            raise IllegalTransition(f"backend {self._name} is not registered: register it before its workers start")
        slots = min(spec.concurrency, self._most or spec.concurrency)
        self._slots = Slots(slots)
        self._lanes.clear()
        running: list[asyncio.Task[None]] = []
        rows = self._projector.state(TASKS).open.values()
        self._priorities |= {row.priority for row in rows if row.backend == self._name}
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._heart.run())
            while not self._slots.closed:
                self._new_priority.clear()
                for priority in self._priorities - self._lanes.keys():
                    self._lanes[priority] = await self._lane(priority, slots)
                    running.append(group.create_task(self._lanes[priority].run()))
                await self._new_priority.wait()
            await asyncio.gather(*running)
            beating.cancel()

    async def drain(self, grace_s: float) -> None:
        """Take no more, and finish what is under way within ``grace_s``."""
        self._slots.close()
        self._new_priority.set()
        await asyncio.gather(*(lane.drain(grace_s) for lane in self._lanes.values()))

    def retire(self) -> None:
        """Stop listening to the log; the worker is not run again."""
        self._projector.unwatch(self._watch)

    async def _lane(self, priority: int, slots: int) -> Loop:
        """The loop over the queue of one priority.

        Of urgent work as much waits here as may run, so that a free slot finds it; of the rest, none is kept from
        other replicas.
        """
        queue = await self._bus.queue(
            work_queue(self._name, priority),
            work_subject(self._name, priority, kind="*"),
            max_in_flight=2 * slots if priority else slots,
            ack_wait_s=ACK_WAIT_S,
        )
        return Loop(self._source, queue, self._handle, self._give_up, ack_wait_s=ACK_WAIT_S)

    def _backend(self) -> Backend:
        return self._projector.state(BACKENDS).by_id.get(self._name) or Backend(self._name)

    async def _handle(self, delivery: Delivery) -> None:
        envelopes = await self._bus.privacy.read(delivery.record.data)
        cause = envelopes[-1]
        if held := self._held.get(cause.id):
            # delivered again although we are still at it: this one may be acknowledged only if the work was done
            if other := await asyncio.shield(held):
                raise other
            return
        self._tasks.see(delivery.record, envelopes)
        loaded = await self._tasks.load(cause.entity, at_least=delivery.record.seq)
        if loaded.state.status in ENDED:
            await answer(self._bus, loaded)
            return
        if loaded.state.hold is not None:
            await self._projector.reached(delivery.record.seq)  # whether its money is there is told up to here
        if isinstance(cause.event, Assigned | Hedged) and self._is_ours(loaded.state, cause.event):
            held = self._held[cause.id] = asyncio.get_running_loop().create_future()
            ended: Later | Kept | None = Later(ACK_WAIT_S)
            try:
                async with self._slots.slot(cause.event.priority, delivery.record.seq):
                    if not await self._resume(cause, cause.event):
                        await self._work(cause, cause.event)
                # delivered again meanwhile, another worker may have taken it over, and would lose it if we acknowledged
                loaded = await self._tasks.load(cause.entity)
                ended = Kept() if self._is_ours(loaded.state, cause.event) else None
            finally:
                del self._held[cause.id]
                held.set_result(ended)
            if ended:
                raise ended

    def _is_ours(self, task: Task, work: Work) -> bool:
        return any(one.backend == self._name and one.attempt == work.attempt for one in task.placed)

    async def _resume(self, cause: Envelope, assigned: Work) -> bool:
        """Go on with a call whose worker is gone, if the provider has it still; whether that was so."""
        loaded = await self._tasks.load(cause.entity)
        number = call_on(loaded.state.placed, self._name)
        has = number and isinstance(self._provider, Resumable) and self._provider.has(call_id(cause.entity, number))
        if not has or not self._is_ours(loaded.state, assigned):
            return False
        known = await begun(self._bus.log, self._name, cause.entity, number)
        if known is None:
            return False
        ago = max(now() - known.started.time, timedelta())
        await self._call(loaded, known.started, known.price, int(ago.total_seconds() * 1e9))
        return True

    async def _work(self, cause: Envelope, assigned: Work) -> None:
        backend = self._backend()
        admission = self._health.admits(backend)
        try:
            refused = admission is Admission.NO or (
                admission is Admission.PROBE and not await self._health.probe(cause)
            )
            if refused or backend.draining:
                reason = f"{self._name} is draining" if backend.draining else f"breaker of {self._name} is open"
                await self._tell_if_ours(cause, assigned, lambda _: Released(reason, self._name))
                return
            if wait_ns := self._limits.take(backend, assigned.tokens, time.monotonic_ns()):
                await asyncio.sleep(wait_ns / 1e9)
            price = self._backend().price
            unpaid = refusal(self._projector.state(BUDGETS), cause.entity, assigned, price)
            if unpaid is not None:
                await self._tell_if_ours(cause, assigned, lambda _: Released(unpaid, self._name))
                return
            started = await self._tell_if_ours(
                cause, assigned, lambda task: Started(self._name, task.call + 1, self._source)
            )
            if started is not None and isinstance(started[1].event, Started):
                used = await self._call(*started, price)
                self._limits.used(assigned.tokens, used.input + used.output)
        finally:
            self._health.ended(probe=admission is Admission.PROBE)

    async def _call(self, loaded: Loaded[Task], started: Envelope, price: Price, ago_ns: int = 0) -> Usage:
        """Make the call, which began ``ago_ns`` before now, and append what came of it; returns what it used."""
        task = loaded.state
        assert task.spec is not None
        assert isinstance(started.event, Started)
        number = started.event.call
        discreet(task.spec.private)
        context = trace.SpanContext(loaded.context.trace if loaded.context else "", trace.span_id(started.id))
        call = Call(self._contexts, self._provider, task.id, number, price, ago_ns)
        running = asyncio.create_task(call.run(within(task.spec, task.hold), context.traceparent))
        self._calls.add(task.id, number, call, running)
        late = self._heart.expect(task.id, number)
        try:
            result = await running
        except asyncio.CancelledError:
            if not self._calls.is_unwanted(running):
                running.cancel()
                raise
            waited = 0 if call.first_token else call.duration
            reason = "stopped: no longer wanted"
            spent = Spent(self._name, number, call.spent, call.cost(call.spent), reason, waited)
            await self._endings.tell(task.id, started, spent)
            return spent.usage
        except CallLost:
            newest = await self._tasks.load(task.id, at_least=NEWEST)
            if call_on(newest.state.placed, self._name) == number:
                raise Later(LOST_S) from None
            return Usage()
        except ProviderError as error:
            await self._failed(task.id, started, call, error)
            return error.usage
        except Exception as error:
            _log.exception("provider failed", backend=self._name, task=task.id)
            wrapped = ProviderError(FailureKind.UNAVAILABLE, f"{type(error).__name__}: {error}")
            await self._failed(task.id, started, call, wrapped)
            return wrapped.usage
        else:
            await self._endings.answered(
                task,
                number,
                started,
                result,
                cost=call.cost(result.usage),
                first_token=call.first_token,
                duration=call.duration,
            )
            await self._health.worked(self._backend(), started)
            return result.usage
        finally:
            if late:
                late.cancel()
            self._calls.remove(task.id, number)

    async def _failed(self, task_id: str, started: Envelope, call: Call, error: ProviderError) -> None:
        error = ProviderError(
            error.kind, self._secrets.masked(str(error)), retry_after_ns=error.retry_after_ns, usage=error.usage
        )
        # first the breaker, so that whoever acts on the failure sees it
        await self._health.failed(error, started)
        cost = call.cost(error.usage)
        await self._endings.failed(task_id, call.number, started, error, cost=cost, duration=call.duration)

    async def _tell_if_ours(self, cause: Envelope, assigned: Work, event: Wish) -> tuple[Loaded[Task], Envelope] | None:
        """Append, unless the task went elsewhere meanwhile."""
        told = await self._tasks.tell(
            cause.entity, lambda task: [event(task)] if self._is_ours(task, assigned) else [], cause=cause
        )
        return (told.entity, told.appended[-1]) if told.appended else None

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        task_id = parse(delivery.record.subject).id
        told = await self._tasks.tell(
            task_id,
            lambda task: [] if task.status in ENDED else [DeadLettered(f"{self._name} failed on it: {error}")],
        )
        await answer(self._bus, told.entity)

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        """Stop a call that nobody wants any more; notice work of a priority that there was none of before."""
        self._calls.heed(envelope)
        match envelope.event:
            case Assigned(backend=self._name, priority=priority) | Hedged(backend=self._name, priority=priority):
                if priority not in self._priorities:
                    self._priorities.add(priority)
                    self._new_priority.set()
