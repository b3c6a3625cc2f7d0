"""Models that answer by lot, and a router that finds out about them: real decisions on folded events."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.events.backend import BackendSpec, Priced, Registered, Removed
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.task import PERFECT, Assigned, Completed, Evaluated, Status, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.learning import LEARNING

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TOKENS = 500
KINDS = {
    "letters": ("write", "a", "kind", "letter", "to", "our", "friend", "about", "the", "garden", "in", "spring"),
    "sums": ("how", "many", "apples", "has", "tom", "left", "if", "he", "sells", "half", "of", "eleven", "and", "buys"),
}


class Model(NamedTuple):
    """What an answer costs on average, in micro-dollars, and how probably it is right, by kind of task."""

    cost: int
    right: Mapping[str, float]

    @property
    def quality(self) -> float:
        """How often it is right when every kind comes as often as the others."""
        return sum(self.right.values()) / len(self.right)


class Outcome(NamedTuple):
    """What came of a task: who did it, for how much, and whether it was right."""

    backend: str
    cost: int
    score: int


class Play:
    """A stream of tasks, drawn by ``seed`` and their number alone: one that is stopped can be played on.

    ``models`` may be changed while it runs. ``history`` is all that was told to the projections.
    """

    def __init__(
        self, models: Mapping[str, Model], policy: str = "adaptive", pace: int = 0, seed: int = 0, quality: int = 50
    ) -> None:
        self.models: dict[str, Model] = {}
        self.history: list[Envelope] = []
        self.backends, self.learning = BACKENDS.initial(), LEARNING.initial()
        self.number = 0
        self._rules = Rules(policies(second=0, quality=quality, pace=pace), default=policy)
        self._seed = seed
        for name, model in models.items():
            self.offer(name, model)

    def offer(self, name: str, model: Model) -> None:
        """Register a model at its price."""
        self.models[name] = model
        self._tell(f"backend/{name}", Registered(BackendSpec("callable", name)))
        self._tell(f"backend/{name}", Priced(Price(output=model.cost * 1_000_000 // TOKENS)))

    def withdraw(self, name: str) -> None:
        """Take a model away."""
        del self.models[name]
        self._tell(f"backend/{name}", Removed())

    def decide(self) -> Assigned:
        """The decision on the next task, which is not told to anybody."""
        view = View(self.backends.by_id, {}, {}, self.number, self.learning)
        seed = self._dice("seed").getrandbits(32)
        verdict = route(Task("t", Status.SUBMITTED, TaskSpec(input=self._text())), view, self._rules, NOW, seed)
        assert isinstance(verdict, Assigned), verdict
        return verdict

    def step(self) -> Outcome:
        """Decide on the next task, and tell what came of it."""
        verdict = self.decide()
        name, subject = verdict.backend, f"task/{self.number}"
        dice, model = self._dice(name), self.models[name]
        tokens = round(TOKENS * dice.lognormvariate(-0.02, 0.2))
        cost = self.backends.by_id[name].price.cost(Usage(0, tokens))
        score = PERFECT if dice.random() < model.right[self._kind()] else 0
        self._tell(subject, verdict)
        self._tell(subject, Completed(name, 1, "", Usage(0, tokens), cost, name))
        self._tell(subject, Evaluated(name, 1, score))
        self.number += 1
        return Outcome(name, cost, score)

    def steps(self, number: int) -> list[Outcome]:
        """So many of them."""
        return [self.step() for _ in range(number)]

    def _kind(self) -> str:
        return self._dice("kind").choice(list(KINDS))

    def _text(self) -> str:
        return " ".join(self._dice("words").choices(KINDS[self._kind()], k=12))

    def _dice(self, what: str) -> random.Random:
        return random.Random(f"{self._seed}/{self.number}/{what}")

    def _tell(self, subject: str, event: object) -> None:
        envelope = Envelope("e", "test", subject, NOW, event, 1)
        self.history.append(envelope)
        self.learning = LEARNING.apply(self.learning, envelope)
        self.backends = BACKENDS.apply(self.backends, envelope)
