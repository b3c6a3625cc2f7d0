"""A log in memory: tasks routed by the real router, answered as a file says, told in the events of a node."""

import math
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from zlib import crc32

from offers import Offer
from stream import Prompt

from callboard.actors.replay.changes import RulesAt
from callboard.actors.replay.walk import SEEN
from callboard.actors.router.route import View, route
from callboard.bus.log import Record
from callboard.bus.subjects import event as subject_of
from callboard.events import task as tasks
from callboard.events.backend import BackendSpec, Priced, Registered, Scaled
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, encode, short_type
from callboard.events.money import TOKENS_PER_PRICE, Price
from callboard.events.task import Assigned, Completed, Evaluated, Started, Submitted, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.learning import LEARNING
from callboard.projections.load import LOAD
from callboard.projections.prefixes import PREFIXES
from callboard.projections.routers import ROUTERS

START = datetime(2026, 11, 29, tzinfo=UTC)
FIRST_TOKEN_S, PER_TOKEN_S, SCATTER = 0.4, 0.012, 0.5
"""The files tell no latencies: these are made up, from the tokens of an answer, with a scatter by prompt and model."""


def names_of(offers: dict[str, Offer]) -> dict[str, str]:
    """Models by the names of their backends."""
    return {model.rpartition("/")[2].replace(".", "-"): model for model in offers}


class MemoryReader:
    """A reader of what was written; nothing else of a log."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        records = self.records[:upto]
        for start in range(after, len(records), 500):
            yield records[start : start + 500]

    async def end(self) -> int:
        return len(self.records)


class RecordedWorld(MemoryReader):
    """The log of one policy on ``prompts``.

    ``scored`` is the share of answers that get a score; ``lot`` tells logs of one seed apart.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        offers: dict[str, Offer],
        rules_at: RulesAt,
        seed: int,
        scored: float = 1.0,
        lot: str = "",
    ) -> None:
        super().__init__()
        self.models = names_of(offers)
        self.prompts: dict[str, Prompt] = {}
        self._states = {projection.name: projection.initial() for projection in SEEN}
        self._versions: dict[str, int] = {}
        self._rules = rules_at(None)
        self._chance = random.Random(f"{seed} {lot}")
        self._scored = scored
        self._now = START
        for name, model in self.models.items():
            spec = BackendSpec("openai", model, tier=offers[model].tier, concurrency=64)
            for event in (Registered(spec), Priced(Price(0, offers[model].price)), Scaled(1)):
                self._tell("backend", name, event, "node#1")
        for number, prompt in enumerate(prompts):
            self._task(f"{seed % 64:02x}-{seed:x}-{number:x}", prompt)

    def price(self, backend: str) -> Price:
        """What a backend's tokens cost."""
        price: Price = self._states["backends"].by_id[backend].price
        return price

    def usage(self, prompt: Prompt, backend: str) -> Usage:
        """The tokens of an answer: a bill is taken to be all for them, as in `world`."""
        cost = prompt.outcomes[self.models[backend]].cost
        return Usage(0, max(round(cost * TOKENS_PER_PRICE / self.price(backend).output), 1))

    def latency(self, prompt: Prompt, backend: str) -> int:
        """Nanoseconds of a call, to the microsecond."""
        share = (crc32(f"{prompt.text}{backend}".encode()) % 9973 + 1) / 9974
        scatter = math.exp(SCATTER * math.log(share / (1 - share)) / 1.7)
        tokens = self.usage(prompt, backend).output
        return round((FIRST_TOKEN_S + PER_TOKEN_S * tokens) * scatter * 1e6) * 1000

    def _task(self, task_id: str, prompt: Prompt) -> None:
        self.prompts[task_id] = prompt
        spec = TaskSpec(input=prompt.text[:2000])
        self._tell("task", task_id, Submitted(spec), "client#1")
        task = tasks.evolve(Task(task_id), Submitted(spec))
        view = View(
            self._states[BACKENDS.name].by_id,
            self._states[LOAD.name].backends,
            {},
            len(self.records),
            self._states[LEARNING.name],
            self._states[PREFIXES.name],
            self._states[ROUTERS.name].active,
        )
        verdict = route(task, view, self._rules, self._now, self._chance.getrandbits(48))
        assert isinstance(verdict, Assigned), verdict
        self._tell("task", task_id, verdict, "router#1")
        name, outcome = verdict.backend, prompt.outcomes[self.models[verdict.backend]]
        self._tell("task", task_id, Started(name, 1, "worker#1"), "worker#1")
        took = self.latency(prompt, name)
        self._now += timedelta(microseconds=took // 1000)
        answer = Completed(
            name, 1, "", self.usage(prompt, name), outcome.cost, self.models[name], first_token=took // 4, duration=took
        )
        self._tell("task", task_id, answer, "worker#1")
        if self._chance.random() < self._scored:
            self._tell("task", task_id, Evaluated(name, 1, outcome.reward), "client#1")
        self._now += timedelta(seconds=1)

    def _tell(self, kind: str, entity: str, event: object, source: str) -> None:
        key = f"{kind}/{entity}"
        self._versions[key] = self._versions.get(key, 0) + 1
        envelope = Envelope(f"e{len(self.records)}", source, key, self._now, event, self._versions[key])
        for projection in SEEN:
            self._states[projection.name] = projection.apply(self._states[projection.name], envelope)
        subject = subject_of(kind, entity, short_type(event)) if kind == "task" else f"evt.0.{key.replace('/', '.')}.x"
        time_ns = int(self._now.timestamp() * 1e9)
        self.records.append(Record(len(self.records) + 1, subject, encode([envelope]), time_ns))
