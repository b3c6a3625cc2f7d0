"""A router and its models without a bus: real decisions on real projections, outcomes from a file.

Only what a router would see is told: the answer of the model that was chosen, what it was billed, and its score.
"""

from datetime import UTC, datetime

from stream import Outcome, Prompt

from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.events.backend import BackendSpec, Priced, Registered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import TOKENS_PER_PRICE, Price
from callboard.events.task import Assigned, Completed, Evaluated, Status, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.learning import LEARNING

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class World:
    """Models that answer as a file says, and the router that finds out about them.

    Waiting costs nothing here, since the files tell no latencies; all other settings are those that ship. The files
    tell no tokens either: a bill is taken to be all for tokens of the answer, at the price in force. What changes is
    replaced, never mutated, so a shallow copy is a world of its own.
    """

    def __init__(self, pace: int, seed: int) -> None:
        self.learning = LEARNING.initial()
        self.backends = BACKENDS.initial()
        self._rules = Rules(policies(second=0, pace=pace), default="adaptive")
        self._seed = seed
        self._number = 0

    def offer(self, model: str, price: int, tier: str) -> None:
        """Register a model that costs ``price`` a million tokens of its answers."""
        self._tell(f"backend/{model}", Registered(BackendSpec("openai", model, tier=tier)))
        self.charge(model, price)

    def charge(self, model: str, price: int) -> None:
        """Announce a price."""
        self._tell(f"backend/{model}", Priced(Price(0, price)))

    def decide(self, prompt: str) -> Assigned:
        """The router's decision on one more prompt, which is not told to it yet."""
        task = Task(self.task_id, Status.SUBMITTED, TaskSpec(input=prompt))
        view = View(self.backends.by_id, {}, {}, self._number, self.learning)
        verdict = route(task, view, self._rules, NOW, hash((self._seed, self._number)) & 0xFFFF_FFFF)
        assert isinstance(verdict, Assigned), verdict
        return verdict

    def step(self, prompt: Prompt) -> tuple[str, Outcome]:
        """Route a prompt, and tell what came of it."""
        verdict = self.decide(prompt.text)
        return verdict.backend, self.tell(prompt, verdict)

    def tell(self, prompt: Prompt, verdict: Assigned) -> Outcome:
        """Tell the decision, and the answer of the model that was chosen, its bill and its score."""
        model = verdict.backend
        outcome = prompt.outcomes[model]
        self._tell(self.task_id, verdict)
        tokens = round(outcome.cost * TOKENS_PER_PRICE / self.backends.by_id[model].price.output)
        self._tell(self.task_id, Completed(model, 1, "", Usage(0, tokens), outcome.cost, model))
        self._tell(self.task_id, Evaluated(model, 1, outcome.reward))
        self._number += 1
        return outcome

    @property
    def task_id(self) -> str:
        """The id of the task at hand."""
        return f"task/{self._number}"

    def _tell(self, subject: str, event: object) -> None:
        envelope = Envelope("e", "benchmark", subject, NOW, event, 1)
        self.learning = LEARNING.apply(self.learning, envelope)
        self.backends = BACKENDS.apply(self.backends, envelope)
