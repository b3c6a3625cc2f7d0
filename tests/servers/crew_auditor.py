"""An auditor who reads what a run of the crew left, and keeps to the promises that agents make."""

from collections import Counter, defaultdict

from servers.crew import PARTS, editor_of
from servers.crew_run import Run

from callboard.bus.entities import AGENT, Entities
from callboard.bus.log import Record
from callboard.events.agent_events import (
    Answered,
    Began,
    DeadLettered,
    Finished,
    Late,
    Mail,
    Received,
    Sent,
    Stepped,
    Stumbled,
    Taken,
)
from callboard.events.context_content import Content
from callboard.events.envelope import decode
from callboard.projections.agents import AGENTS
from callboard.projections.projection import fold

Step = tuple[str, str, str]
"""An agent's name, a message, and a step's name."""


def audit(run: Run, reference: Run) -> Counter:
    """Check all promises. Returns how often what happened that could not be seen in an uninterrupted run."""
    histories = _histories(run.records)
    seen = _steps(histories, run.page)
    assert run.stops or not seen["ran after its end"], "a step was run again after its end"
    _mail(histories)
    _messages(histories, run.stories)
    _contexts(run.contexts, reference.contexts)
    _projection(run.records)
    return seen


def _histories(records: list[Record]) -> dict[str, list[tuple[object, int]]]:
    """The events of each agent, each with when it was stored; that their chains hold is seen in passing."""
    histories: dict[str, list[tuple[object, int]]] = defaultdict(list)
    entities = Entities(None, AGENT, "auditor")
    for record in records:
        envelopes = decode(record.data)
        if envelopes[0].kind == "agent":
            entities.see(record, envelopes)
            assert entities._cache[envelopes[0].entity].seq == record.seq, "a message does not follow the one before it"
        for envelope in envelopes:
            if envelope.kind == "agent":
                histories[envelope.entity].append((envelope.event, record.time_ns))
    return histories


def _steps(histories: dict[str, list[tuple[object, int]]], page: list[str]) -> Counter:
    """A step runs as often as the log says that it began, or less, and never again after its end."""
    ran: dict[Step, list[int]] = defaultdict(list)
    for line in page:
        time_ns, who, message, step = line.split(" ", 3)
        ran[who, message, step].append(int(time_ns))
    began, ended, seen = Counter(), {}, Counter()
    for agent_id, history in histories.items():
        message, epoch, who = "", 0, agent_id.replace("--", "/")
        for event, stored_ns in history:
            assert not isinstance(event, Stumbled | DeadLettered), f"{who} failed: {event}"
            match event:
                case Taken():
                    assert event.epoch == epoch + 1
                    seen["taken over"] += event.message == message
                    message, epoch = event.message, event.epoch
                case Began():
                    key = who, message, event.step
                    assert key not in ended, f"{key} began again after its end"
                    assert event.run == began[key] + 1
                    began[key] = event.run
                case Stepped():
                    key = who, message, event.step
                    assert key not in ended, f"{key} ended twice"
                    ended[key] = stored_ns
    assert set(ran) <= set(began), "something was done that the log does not know"
    for key, times in ran.items():
        assert len(times) <= began[key], f"{key} ran {len(times)} times, and began {began[key]} times"
        seen["ran after its end"] += max(times) > ended[key]  # by one who was stopped just before it began to run
        seen["ran twice"] += len(times) > 1
        seen["began and did not run"] += len(times) < began[key]
    seen["steps"] = len(ran)
    assert set(began) == set(ran)
    assert set(began) <= set(ended)
    return seen


def _mail(histories: dict[str, list[tuple[object, int]]]) -> None:
    """All that was sent was received, once and in order, as what it was."""
    sent, received = defaultdict(list), defaultdict(list)
    for agent_id, history in histories.items():
        for event, _ in history:
            if isinstance(event, Mail) and event.to:
                sent[agent_id, event.to].append((event.number, event.message, isinstance(event, Sent)))
            if isinstance(event, Received | Answered | Late) and event.sender:
                assert not isinstance(event, Late), f"an answer was late: {event}"
                received[event.sender, agent_id].append((event.number, event.message, isinstance(event, Received)))
    assert sent == received
    for way, mail in sent.items():
        assert [number for number, *_ in mail] == [*range(1, len(mail) + 1)], f"from {way[0]} to {way[1]}"


def _messages(histories: dict[str, list[tuple[object, int]]], stories: int) -> None:
    """Each message was received once and finished once, and each story has the answer that it must have."""
    answers = {}
    for agent_id, history in histories.items():
        received = [event.message for event, _ in history if isinstance(event, Received)]
        finished = [event.message for event, _ in history if isinstance(event, Finished)]
        assert received == finished, agent_id
        assert len(set(received)) == len(received)
        answers[agent_id] = [event.value.json for event, _ in history if isinstance(event, Finished)]
    for editor in {editor_of(number) for number in range(stories)}:
        told = [f"{number}" for number in range(stories) if editor_of(number) == editor]
        text = " and ".join(f"{part} of 2" for part in PARTS)
        assert answers[editor.replace("/", "--")] == [[text, told[: n + 1]] for n in range(len(told))]
    assert answers["archivist"] == [*range(1, stories + 1)]


def _contexts(found: dict[str, Content], expected: dict[str, Content]) -> None:
    """What is in a context is what would be there if nobody had been killed: by each author in order, and all facts."""
    assert found.keys() == expected.keys()
    for name, content in found.items():
        assert _said(content, name) == _said(expected[name], name), name
        facts, wanted = ({key: fact.value for key, fact in each.facts.items()} for each in (content, expected[name]))
        assert facts == wanted, name


def _said(content: Content, name: str) -> dict[str, list[str]]:
    said = defaultdict(list)
    for message in content.messages:
        said[message.content.partition(": ")[0]].append(message.content)
    if name == "archive":  # stories are filed in the order in which they were done
        said["archivist"].sort()
    return said


def _projection(records: list[Record]) -> None:
    """Nobody is taken to have something to do, and nothing is awaited."""
    state = fold(AGENTS, AGENTS.initial(), [envelope for record in records for envelope in decode(record.data)])
    assert not state.runnable
    assert not state.resting
    assert not state.awaited
    assert {(row.work, row.waiting, row.dead) for row in state.by_id.values()} == {("", 0, 0)}
