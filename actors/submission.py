"""What anybody may publish to ``submit.task``: one JSON object, checked here and turned into a task."""

import re
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

from callboard.actors import strict_json
from callboard.actors.json_schema import check_schema
from callboard.bus.entities import Entities, Told
from callboard.events import trace
from callboard.events.context_version import context_version
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id, entity_id, shard_of
from callboard.events.shards import ALL, Shards
from callboard.events.task import Submitted, Task
from callboard.events.task_spec import NO_NEEDS, Input, Needs, TaskSpec

MAX_TAGS: Final = 32
MAX_TOOLS: Final = 128
_RESERVED = re.compile(
    r"(evt|submit|timer|tok|hb|host|want|key|forget|blob|snapshot|checkpoint|ask|answer|gate|told|\$.*)(\..*)?"
)


class StrictNeeds(Needs, frozen=True, forbid_unknown_fields=True):
    """`Needs`, with misspelt fields refused."""


class Submission(TaskSpec, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A task as it is asked for: all that a `TaskSpec` has, of which only ``input`` is needed, and how to ask for it.

    With a ``context`` the input may be empty too. How much that shows is found out, never taken from who asks.
    ``deadline`` and ``not_before`` are RFC 3339 times; ``timeout_s`` and ``delay_s`` say the same from now on.
    ``reply`` says when the reply subject is answered: when the task is ``done`` (with its answer) or as soon as it is
    ``accepted``. ``traceparent`` is the W3C trace context of the sender.
    """

    input: Input = ""
    needs: StrictNeeds = StrictNeeds()
    shown: None = None
    id: str | None = None
    timeout_s: float | None = None
    delay_s: float | None = None
    reply: Literal["done", "accepted"] = "done"
    traceparent: str = ""

    def spec(self, now: datetime) -> TaskSpec:
        """The task that is asked for, at ``now``. Raises InvalidInput naming the field that is wrong."""
        deadline = self.deadline or after(now, self.timeout_s, "timeout_s")
        not_before = self.not_before or after(now, self.delay_s, "delay_s")
        self._check(deadline, now)
        needs = Needs(self.needs.capabilities, self.needs.context, self.needs.data_policy)
        fields = {name: getattr(self, name) for name in TaskSpec.__struct_fields__}
        computed = {"needs": NO_NEEDS if needs == NO_NEEDS else needs, "deadline": deadline, "not_before": not_before}
        return TaskSpec(**fields | computed)

    def task_id(self, otherwise: str) -> str:
        """The task's id: the one asked for, one that follows from ``key``, or ``otherwise``."""
        if self.id is not None:
            return checked_id(self.id, "id")
        if self.key is not None:
            return id_from("key", self.key, owner=self.parent)
        return otherwise

    def _check(self, deadline: datetime | None, now: datetime) -> None:
        if not self.input and self.context is None:
            raise InvalidInput("input is empty: give a text or at least one message, or the context to read")
        if self.context is not None:
            context_version(self.context)
        if deadline is not None:
            if deadline.tzinfo is None:
                raise InvalidInput(f"deadline {deadline.isoformat()} has no time zone: add Z or an offset")
            if deadline <= now:
                raise InvalidInput(f"deadline {deadline.isoformat()} is in the past (it is {now.isoformat()})")
        if self.not_before is not None and self.not_before.tzinfo is None:
            raise InvalidInput(f"not_before {self.not_before.isoformat()} has no time zone: add Z or an offset")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidInput(f"{name} must be from {low} to {high}, got {value}")
        for name in ("backend", "budget", "owner", "parent", "private"):
            if (value := getattr(self, name)) is not None:
                checked_id(value, name)
        if len(self.tags) > MAX_TAGS or any(not 0 < len(tag) <= 64 for tag in self.tags):
            raise InvalidInput(f"tags: at most {MAX_TAGS} of 1 to 64 characters")
        names = [checked_id(tool.name, "the name of a tool") for tool in self.tools]
        if len(names) > MAX_TOOLS or len(set(names)) < len(names):
            raise InvalidInput(f"tools: at most {MAX_TOOLS}, no two of one name")
        if not self.needs.capabilities:
            raise InvalidInput("needs.capabilities is empty: leave it out, or name what the backend must offer")
        if self.schema is not None:
            check_schema(self.schema)
        if self.reply_to is not None:
            check_reply(self.reply_to)


_BIG: Final = 2**53
_RANGES: Final = (
    ("max_tokens", 1, 10_000_000),
    ("max_cost", 0, _BIG),
    ("priority", 0, 9),
    ("min_quality", 0, 100),
    ("temperature", 0, 10),
    ("seed", -_BIG, _BIG),
)


def parse(data: bytes) -> Submission:
    """Read a submission. Raises InvalidInput that says what is wrong, where, and what was probably meant."""
    return strict_json.read(data, Submission, "task", '{"input": "Say hello"}', Needs.__struct_fields__)


async def submit(tasks: Entities[Task], task_id: str, spec: TaskSpec, context: trace.SpanContext | None) -> Told[Task]:
    """Append a task, unless there is one with this id. A subtask joins its parent's trace and root.

    What it reads was pinned when it was accepted.
    """

    def wish(task: Task) -> list[Submitted]:
        if task.spec:
            return []
        assert spec.context is None or spec.shown is not None
        return [Submitted(spec)]

    correlation = ""
    if spec.parent:
        parent = await tasks.load(spec.parent)
        correlation, context = parent.correlation, context or parent.context
    return await tasks.tell(task_id, wish, context=context, correlation=correlation)


def check_reply(subject: str) -> None:
    """Refuse a reply subject that would reach the log, the server or nobody."""
    if _RESERVED.fullmatch(subject) or not all(subject.split(".")) or re.search(r"[\s*>]", subject):
        raise InvalidInput(f"reply_to {subject[:80]!r} is not a subject to reply to: use an inbox of your own")


def id_from(*parts: str, owner: str | None = None, shards: Shards = ALL) -> str:
    """A task id that depends on ``parts`` alone, in the shard of ``owner`` or in one of ``shards`` that follows too."""
    digest = sha256("\x1f".join(parts).encode()).digest()
    shard = shard_of(owner) if owner else shards.draw(digest[0])
    return entity_id(shard, int.from_bytes(digest[1:7], "big") * 1_000_000, digest[7:17])


def after(now: datetime, seconds: float | None, name: str) -> datetime | None:
    """The time so many ``seconds`` after ``now``, None for None. Raises InvalidInput that names the field ``name``."""
    if seconds is None:
        return None
    if not 0 < seconds <= 10 * 366 * 86_400:
        raise InvalidInput(f"{name} must be over 0 and at most ten years in seconds, got {seconds}")
    return now + timedelta(seconds=seconds)
