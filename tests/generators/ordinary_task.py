"""An ordinary task as its actors write it: submitted, assigned, started, completed, a message each.

Only what a reader looks at differs from one to the next, so that a log of any length is made quickly.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from callboard.actors.router.features import features
from callboard.bus.subjects import event as subject_of
from callboard.events import task
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, encode, message_hash, short_type
from callboard.events.task_spec import Candidates, Decision, TaskSpec
from callboard.events.task_subjects import addressee

BACKENDS: Final = ("large", "small", "tiny")
START: Final = datetime(2026, 11, 1, tzinfo=UTC)
SPEC: Final = TaskSpec(input="What is the capital of Portugal? " * 4, tags=("trivia",))
FEATURES: Final = features(SPEC)
APART: Final = timedelta(milliseconds=40)
"""From one task to the next."""


def ordinary_task(task_id: str, number: int) -> list[tuple[str, bytes]]:
    """The subject and the data of its four messages; ``number`` says which of many tasks it is."""
    backend, usage, cost = BACKENDS[number % 3], Usage(120, 45 + number % 50), 60 + number % 100
    candidates = Candidates(
        BACKENDS[:2], (60, 9), (500_000_000, 900_000_000), (750_000, 600_000), excluded={"tiny": "is draining"}
    )
    reason = "best value: quality 75 %, about 60 micro-dollars, 0.50 s"
    events = [
        task.Submitted(SPEC),
        task.Assigned(backend, 1, 300, Decision("balanced/1", reason, number, candidates, features=FEATURES)),
        task.Started(backend, 1, f"backend/{backend}/0#ab12cd34"),
        task.Completed(backend, 1, "Lisbon " * 20, usage, cost, backend, duration=480_000_000 + number),
    ]
    previous, messages = "", []
    for version, event in enumerate(events, 1):
        envelope = Envelope(
            id=f"0192-{number}-{version}",
            source="router#ab12cd34",
            subject=f"task/{task_id}",
            time=START + number * APART + timedelta(milliseconds=version),
            event=event,
            version=version,
            causationid=f"0192-{number}-{version - 1}",
            correlationid=task_id,
            traceparent=f"00-{number + 1:032x}-{'b' * 16}-01",
            prevhash=previous,
        )
        data = encode([envelope])
        previous = message_hash(data)
        messages.append((subject_of("task", task_id, short_type(event), addressee(event)), data))
    return messages
