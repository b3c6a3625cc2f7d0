"""A log as a busy fleet writes it, made up: tasks with all that happens to them, backends, budgets, in one order.

Every message is valid: dense versions, hash chains, decisions on what was there, costs at the price of the time, money
held and settled. The same seed gives the same log, so a log of any length need not be kept.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callboard.bus import subjects
from callboard.bus.log import Record
from callboard.events import approval, backend, budget, task
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.checkpoint import checkpoint_hash, encode_checkpoint, sign
from callboard.events.envelope import Envelope, encode, message_hash, short_type
from callboard.events.ids import entity_id
from callboard.events.merkle import Tree, leaf_hash
from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.task_spec import Candidates, Decision, Failure, Hold, Needs, TaskSpec
from callboard.projections.audit.entities import RULES

START = datetime(2026, 11, 1, tzinfo=UTC)
START_NS = int(START.timestamp()) * 1_000_000_000
STEP_NS = 260_000_000
"""Between two messages: a month has 10 million."""

BACKENDS = ("large", "small", "spare")
PRICES = (Price(3_000_000, 15_000_000), Price(250_000, 1_000_000, 25_000), Price())
TEXT = "What is the capital of Portugal, and what is it known for? " * 3
LEASE_TASKS = 40

Records = list[Record]
Life = Iterator[Records]
"""What happens to one thing, in steps between which other things happen."""


class LogWriter:
    """Appends to a log that is not kept: knows of each entity where its chain stands."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.seq = 0
        self.prices = dict(zip(BACKENDS, PRICES, strict=True))
        self._chains: dict[str, tuple[int, str]] = {}

    def write(self, kind: str, name: str, *events: object, last: bool = False) -> Record:
        """The message that says ``events`` of an entity; ``last``: nothing more will be said of it."""
        key = f"{kind}/{name}"
        version, previous = self._chains.get(key, (0, ""))
        self.seq += 1
        time_ns = START_NS + self.seq * STEP_NS
        time = START + timedelta(microseconds=self.seq * STEP_NS // 1000)
        envelopes = [
            Envelope(
                f"0192{self.seq:012x}{number:x}", "node#ab12cd34", key, time, event, version + 1 + number,
                causationid=f"0192{self.seq - 1:012x}0", correlationid=name,
                traceparent=f"00-{self.seq:032x}-{self.seq:016x}-01", prevhash=previous,
            )
            for number, event in enumerate(events)
        ]  # fmt: skip
        data = encode(envelopes)
        if last:
            self._chains.pop(key, None)
        else:
            self._chains[key] = (version + len(events), message_hash(data))
        named, to = events[-1], ()
        if kind in {"task", "agent"}:
            rules = RULES[kind]
            named = rules.headline(events)
            to = rules.addressee(named)
        return Record(self.seq, subjects.event(kind, name, short_type(named), to), data, time_ns)

    def new_id(self) -> str:
        """The id of a new entity."""
        return entity_id(self.random.randrange(64), (START_NS + self.seq * STEP_NS), self.random.randbytes(10))


class Purse:
    """A budget of a team that is part of an organisation's, and the lease that tasks are paid from."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._lease = ""
        self._left = 0
        self._tasks = 0
        self._open: dict[str, list[int]] = {}

    def begin(self) -> Records:
        """Grant both."""
        write = self._writer.write
        return [
            write("budget", "org", budget.Granted(10**15)),
            write("budget", "team", budget.Granted(10**14, "org", "ask")),
        ]

    def hold(self, name: str) -> tuple[Records, Hold]:
        """Money for a call on a backend, and what is written to have it."""
        amount, made = self._writer.prices[name].ceiling(400, 300), []
        if self._tasks == LEASE_TASKS or amount > self._left:
            made = self.end()
            self._lease = f"lease-{self._writer.seq}"
            self._left, self._tasks = 10**7, 0
            self._open[self._lease] = [0, 0, 0]
            reserved = budget.Reserved(self._lease, self._left, "team", "router#ab12cd34", START)
            made += [self._writer.write("budget", level, reserved) for level in ("team", "org")]
        self._left -= amount
        self._tasks += 1
        self._open[self._lease][1] += amount
        return made, Hold("team", amount, 400, 300, self._lease)

    def told(self, hold: Hold, cost: int) -> Records:
        """A call from the lease has ended."""
        lease = self._open[hold.lease]
        lease[0] += cost
        lease[1] -= hold.amount
        return self._settle(hold.lease) if lease[2] else []

    def end(self) -> Records:
        """Close the lease that is open."""
        if not self._lease:
            return []
        name, self._lease = self._lease, ""
        self._open[name][2] = 1
        return [self._writer.write("budget", "team", budget.Sealed(name, "used up")), *self._settle(name)]

    def _settle(self, name: str) -> Records:
        spent, held, _ = self._open[name]
        if not held:
            del self._open[name]
        what = budget.Settled(name, spent, held) if spent or held else budget.Refunded(name)
        return [self._writer.write("budget", level, what) for level in ("org", "team")]


def log_of(events: int, seed: int = 1, *, budgets: bool = True, open_tasks: int = 300) -> Iterator[Record]:
    """About so many events (all lives that have begun are brought to their end), many tasks at a time."""
    writer = LogWriter(seed)
    purse = Purse(writer)
    random = writer.random
    for name, price in zip(BACKENDS, PRICES, strict=True):
        capabilities = ("chat", "schema") if name == "large" else ("chat",)
        spec = backend.BackendSpec(
            "callable", name, capabilities=capabilities, data_policy=("no-train",) * (name != "spare")
        )
        priced = (backend.Priced(price),) * (price != Price())
        yield writer.write("backend", name, backend.Registered(spec), *priced)
    if budgets:
        yield from purse.begin()
    lives: list[Life] = []
    while writer.seq < events or lives:
        if writer.seq < events and (len(lives) < open_tasks):
            lives.append(_life(writer, purse if budgets and random.random() < 0.25 else None))
        number = random.randrange(len(lives))
        records = next(lives[number], None)
        if records is None:
            lives[number] = lives[-1]
            lives.pop()
        else:
            yield from records
        if random.random() < 0.0005:
            yield from _something_else(writer)
    yield from purse.end()


def signed(records: Iterator[Record], private: Ed25519PrivateKey, every: int = 10_000) -> list[tuple[int, bytes]]:
    """The checkpoints that a notary makes of a log, as (sequence, bytes)."""
    tree, made, previous = Tree(), [], ""

    def head(time_ns: int) -> None:
        nonlocal previous
        time = START + timedelta(microseconds=(time_ns - START_NS) // 1000)
        data = encode_checkpoint(sign(tree, previous, time, private))
        previous = checkpoint_hash(data)
        made.append((len(made) + 1, data))

    time_ns = START_NS
    for seq, subject, data, time_ns, _ in records:
        tree.add(leaf_hash(seq, time_ns, subject, data))
        if tree.size % every == 0:
            head(time_ns)
    if tree.size % every:
        head(time_ns)
    return made


def _something_else(writer: LogWriter) -> Records:
    random, write = writer.random, writer.write
    if random.random() < 0.3:
        name = random.choice(BACKENDS[:2])
        old = writer.prices[name]
        writer.prices[name] = Price(old.input + random.choice((-1000, 1000)), old.output, old.cached)
        return [write("backend", name, backend.Priced(writer.prices[name]))]
    name, action = writer.new_id(), {"tool": "mail", "number": random.randrange(1000)}
    hashed = approval.hash_of(action)
    return [
        write("approval", name, approval.Requested(action, hashed, "Send it?", "ann")),
        write("approval", name, approval.Approved(hashed, "bob"), last=True),
    ]


def _life(writer: LogWriter, purse: Purse | None) -> Life:
    random, name = writer.random, writer.new_id()
    fate, on = random.random(), random.choice(BACKENDS[:2])

    def say(*events: object, last: bool = False) -> Records:
        return [writer.write("task", name, *events, last=last)]

    needs = Needs(data_policy=("no-train",)) if fate > 0.9 else Needs()
    yield say(task.Submitted(TaskSpec(TEXT, needs=needs, tags=("trivia",), budget="team" if purse else None)))
    if fate < 0.03:
        yield say(task.Parked("large is draining", waits=("large",)))
    money, hold = purse.hold(on) if purse else ([], None)
    assigned = [*money, *say(_assigned(writer, on, 1, hold))]
    if not hold:  # else the price may rise over what is held
        yield assigned
        assigned = []
    price = writer.prices[on]
    yield [*assigned, *say(task.Started(on, 1, "backend/large/0#ab12cd34"))]
    usage = Usage(random.randrange(40, 200), random.randrange(1, 300))
    answer = (on, 1, "Lisbon. " * random.randrange(5, 60), usage, price.cost(usage), on)
    if purse and hold:
        yield [*say(task.Completed(*answer, duration=480_000_000), last=True), *purse.told(hold, price.cost(usage))]
    elif fate < 0.12:
        yield from _trouble(writer, fate, answer, say)
    else:
        yield say(task.Completed(*answer, duration=480_000_000), last=fate < 0.7)
        if fate >= 0.7:
            yield say(task.Evaluated(on, 1, 800_000), last=True)


def _trouble(writer: LogWriter, fate: float, answer: tuple[Any, ...], say: Callable[..., Records]) -> Life:
    """A call that does not simply end well: it fails, is interrupted, hedged, cancelled, or its answer is declined."""
    on, _, _, usage, cost, _ = answer
    if fate < 0.06:
        other = "small" if on == "large" else "large"
        yield say(task.Failed(on, 1, Failure("unavailable", "no answer"), Usage(), 0))
        yield say(_assigned(writer, other, 2, None))
        price = writer.prices[other]
        yield say(task.Started(other, 2, "w"))
        yield say(task.Completed(other, 2, "Lisbon", usage, price.cost(usage), other), last=True)
    elif fate < 0.08:
        price = writer.prices[on]
        yield say(task.Interrupted(on, 1), task.Started(on, 2, "w2"))
        yield say(task.Completed(on, 2, "Lisbon", usage, price.cost(usage), on))
        yield say(task.Spent(on, 1, Usage(), 123, "told by hand"), last=True)
    elif fate < 0.10:
        yield say(Hedged("spare", 2, 1, 300, _decision(writer)))
        yield say(task.Started("spare", 2, "w"))
        yield say(task.Completed("spare", 2, "Lisbon", usage, 0, "spare"))
        yield say(task.Spent(on, 1, usage, cost, "stopped: no longer wanted"), last=True)
    elif fate < 0.11:
        yield say(task.Cancelled("enough"))
        yield say(task.Spent(on, 1, usage, cost, "stopped: no longer wanted"), last=True)
    else:
        yield say(Answered(*answer), Declined(on, 1, 300_000, "poor"))
        yield say(task.Completed(*answer, booked=True), last=True)


def _decision(writer: LogWriter) -> Decision:
    able = Candidates(("large", "small", "spare"), (60, 9, 0), (500_000_000, 900_000_000, 10**9), (750_000, 600_000, 1))
    return Decision("balanced/1", "best value: quality 75 %", writer.seq, able, features=b"abcdef")


def _assigned(writer: LogWriter, on: str, attempt: int, hold: Hold | None) -> task.Assigned:
    return task.Assigned(on, attempt, 300, _decision(writer), hold=hold)
