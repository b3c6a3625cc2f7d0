"""A small fleet's log that is written message by message, and the audit of it."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from callboard.bus.log import Record
from callboard.events import agent_events, approval, backend, budget, task
from callboard.events.chat import Usage
from callboard.events.checkpoint import key_of
from callboard.events.money import Price
from callboard.events.task_spec import Candidates, Decision, Hold, TaskSpec
from callboard.projections.audit import Audit, Options, Report, Severity
from generators.log_histories import PRICES, START, LogWriter, signed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OPTIONS = Options(keys=frozenset({key_of(KEY)}))


def audited(
    records: Sequence[Record], checkpoints: Sequence[tuple[int, bytes]] | None = None, options: Options = OPTIONS
) -> Report:
    """The report on a log; signed as it is, unless other checkpoints are given."""
    made = signed(iter(records), KEY, 7) if checkpoints is None else checkpoints
    fold = Audit(options, made)
    for seq, subject, data, time_ns, _ in records:
        fold.take(seq, time_ns, subject, data)
    return fold.finish()


class Story:
    """Writes a log in a few words."""

    def __init__(self) -> None:
        self.writer = LogWriter()
        self.records: list[Record] = []
        spec = backend.BackendSpec("callable", "m", capabilities=("chat", "schema"), context=1000)
        self.say("backend", "large", backend.Registered(spec), backend.Priced(PRICES[0]))
        promises = replace(spec, capabilities=("chat",), data_policy=("no-train",))
        self.say("backend", "small", backend.Registered(promises), backend.Priced(PRICES[1]))

    @property
    def end(self) -> int:
        """The sequence of the last message."""
        return self.writer.seq

    def say(self, kind: str, name: str, *events: object) -> int:
        """One message; its sequence."""
        self.records.append(self.writer.write(kind, name, *events))
        return self.writer.seq

    def tell(self, *events: object, name: str = "2f-task") -> int:
        """A message of a task, or one for each event."""
        return [self.say("task", name, event) for event in events][-1]

    def submit(self, name: str = "2f-task", **wanted: object) -> int:
        """A task is submitted."""
        return self.tell(task.Submitted(TaskSpec("hello", **wanted)), name=name)

    def assigned(
        self, on: str = "large", attempt: int = 1, seen: int | None = None, hold: Hold | None = None, cost: int = 9
    ) -> task.Assigned:
        """An assignment that is decided on all that was said, unless it says otherwise."""
        able = Candidates(("large", "small"), (cost, cost), (1, 1), (1, 1))
        decision = Decision("best/1", "why not", self.end if seen is None else seen, able)
        return task.Assigned(on, attempt, 100, decision, hold=hold)

    def finish(
        self, on: str = "large", cost: int | None = None, name: str = "2f-task", price: Price | None = None
    ) -> int:
        """A call of 10 tokens in and 5 out, from its start to its end."""
        paid = (price or self.writer.prices[on]).cost(Usage(10, 5)) if cost is None else cost
        self.tell(task.Started(on, 1, "w"), name=name)
        return self.tell(task.Completed(on, 1, "hi", Usage(10, 5), paid, "m"), name=name)

    def budgets(self, limit: int = 100_000, lease: int = 10_000) -> None:
        """A budget ``team`` in ``org``, and a lease of it, ``l``."""
        self.say("budget", "org", budget.Granted(10**9))
        self.say("budget", "team", budget.Granted(limit, "org"))
        for level in ("team", "org"):
            self.say("budget", level, budget.Reserved("l", lease, "team", "router", START))

    def hold(self, amount: int = 2000, lease: str = "l") -> Hold:
        """Money for a call of at most 100 tokens in and 50 out."""
        return Hold("team", amount, 100, 50, lease)

    def agent(self, *events: object, name: str = "writer--ann") -> int:
        """A message of an agent."""
        return self.say("agent", name, *events)

    def working_agent(self, *tools_to_ask_about: str) -> None:
        """An agent that works at a message; ``tools_to_ask_about`` need an approval."""
        self.agent(agent_events.Defined("writes", ("mail",), (), tools_to_ask_about), name="writer")
        self.agent(agent_events.Received("m1", agent_events.Value("hello")))
        self.agent(agent_events.Taken("m1", "h1", 1))

    def ask(self, *answer: object, by: str = "writer--ann", tool: str = "mail") -> None:
        """An approval ``ok``, and how it went on."""
        action = {"tool": tool, "arguments": {}}
        self.say("approval", "ok", approval.Requested(action, approval.hash_of(action), "May I?", by))
        for event in answer:
            self.say("approval", "ok", event)

    def report(self) -> Report:
        """The audit of it."""
        return audited(self.records)

    def wrong(self) -> dict[str, list[int]]:
        """The places of what is found, by kind; notes left out."""
        found: dict[str, list[int]] = {}
        for finding in self.report().findings:
            if finding.severity is not Severity.NOTE:
                found.setdefault(finding.kind, []).append(finding.seq)
        return found
