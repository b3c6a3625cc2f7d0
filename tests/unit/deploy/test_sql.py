"""SQL over the log: it says what the projections say, whatever version the events are of, and can touch nothing."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from generators.task_histories import lively
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callboard.bus.archive import segment
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.folder import Archive
from callboard.bus.errors import Damaged, NotInstalled
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import event as subject_of
from callboard.deploy.sql.database import Database, InvalidQuery
from callboard.deploy.sql.sources import gather
from callboard.deploy.sql.tables import TABLES, named, subjects
from callboard.deploy.tracing_log import tell
from callboard.events import agent_events as agent
from callboard.events import backend, budget, task, task_spec
from callboard.events.envelope import Envelope, decode, encode, short_type
from callboard.events.errors import CallboardError
from callboard.events.upcasters import UPCASTERS
from callboard.projections.cost import COST
from callboard.projections.projection import fold
from callboard.projections.spans import Spans
from callboard.projections.tasks import TASKS

GOLDEN = Path(__file__).parents[1] / "events" / "golden"
START = datetime(2026, 11, 23, tzinfo=UTC)


def told(entity: str, event: object, number: int, kind: str = "task") -> Envelope:
    return Envelope(f"e{number}", "test", f"{kind}/{entity}", START, event, number, correlationid=entity)


async def written(messages: Sequence[bytes | Envelope]) -> MemoryBus:
    """A log of events, or of bytes that stand for events of a task."""
    bus, last = MemoryBus(), {}
    for message in messages:
        if isinstance(message, Envelope):
            subject = subject_of(message.kind, message.entity, short_type(message.event))
            data = encode([message])
        else:
            subject, data = subject_of("task", "t", "x"), message
        entity = subject.rsplit(".", 1)[0]
        last[entity] = await bus.log.append(Write(subject, data, last.get(entity, 0)))
    return bus


async def answers(bus: MemoryBus, *queries: str, archived: int = 0) -> list[list[tuple]]:
    """The rows of each query over a log whose first messages are archived, in two segments, and half of them purged."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "archive"
        folder.mkdir()
        records = [record async for batch in bus.log.read_all() for record in batch][:archived]
        for part in filter(None, (records[: archived // 2], records[archived // 2 :])):
            segment.write(folder, part[0].seq, [part])
        log = ArchivedLog(bus.hot, Archive(folder))
        for record in records[: archived // 2]:
            await bus.hot.purge(record.subject, upto=record.seq)
        sources = await gather(" ".join(queries), log, Path(name))
        with Database(sources) as database:
            return [[row for chunk in database.query(query).chunks for row in chunk] for query in queries]


@pytest.fixture
async def bus():
    return await written([told("t", task.Submitted(task_spec.TaskSpec("hello", tags=("a",))), 1)])


async def test_the_documentation_is_what_there_is(bus):
    """Each table has exactly the columns, of exactly the types, that are told of."""
    described = await answers(bus, *(f"DESCRIBE {name}" for name in TABLES))
    for table, rows in zip(TABLES.values(), described, strict=True):
        assert [row[:2] for row in rows] == [(column.name, column.type) for column in table.columns], table.name


COLUMNS = "task, status, backend, reason, calls, cost, tokens_in, tokens_out, tokens_cached, score, ended"
LINES = "count(*), sum(tokens_in), sum(tokens_out), sum(tokens_cached), sum(cost), sum(wasted)"


def amounts(line) -> tuple:
    return (line.calls, line.usage.input, line.usage.output, line.usage.cached, line.cost, line.wasted)


@pytest.mark.parametrize("seed", range(5))
async def test_tables_say_what_the_projections_say(seed):
    """Where each task stands, and what was spent by whom, when and for what, whatever of it is archived."""
    history = lively(seed, tasks=60, steps=600)
    tasks, costs = fold(TASKS, TASKS.initial(), history), fold(COST, COST.initial(), history)
    rows, total, *by, calls = await answers(
        await written(history),
        f"SELECT {COLUMNS} FROM tasks ORDER BY task",
        f"SELECT {LINES} FROM costs",
        f"SELECT backend, {LINES} FROM costs GROUP BY 1",
        f"SELECT day::VARCHAR, {LINES} FROM costs GROUP BY 1",
        f"SELECT tag, {LINES} FROM costs JOIN (SELECT task, unnest(tags) AS tag FROM tasks) USING (task) GROUP BY 1",
        "SELECT count(cost), sum(cost) FROM calls",
        archived=seed * len(history) // 5,
    )
    known = sorted((*tasks.open.values(), *tasks.ended.values()), key=lambda row: row.id)
    assert rows == [
        (
            row.id, str(row.status), row.backend, row.reason, row.calls, row.cost,
            row.usage.input, row.usage.output, row.usage.cached, row.score, row.ended,
        )
        for row in known
    ]  # fmt: skip
    if costs.total.calls:
        assert total == [amounts(costs.total)]
        assert calls == [(costs.total.calls, costs.total.cost)]
    for found, lines in zip(by, (costs.by_backend, costs.by_day, costs.by_tag), strict=True):
        assert {key: tuple(rest) for key, *rest in found} == {key: amounts(line) for key, line in lines.items()}


def golden(*stems: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.json")) if path.name.startswith(stems)]


async def test_old_decisions_are_read_as_today():
    """Candidates were rows and are columns now: the tables say the same of both as the events as they are read."""
    messages = golden("callboard.task.assigned", "callboard.task.hedged")
    decided = [envelope.event for message in messages for envelope in decode(message)]
    assert {"callboard.task.assigned.v1", "callboard.task.hedged.v1"} <= {json.loads(each)["type"] for each in messages}
    candidates, assignments = await answers(
        await written(messages),
        "SELECT seq, backend, coalesce(cost, 0), coalesce(latency_ns, 0), coalesce(quality, 0), excluded, "
        "coalesce(cached, 0), chosen FROM candidates ORDER BY seq, excluded IS NOT NULL",
        "SELECT backend, attempt, policy, reason, seen, seed, propensity, predicted_cost, predicted_latency_ns, "
        "predicted_quality, predicted_tokens, held FROM assignments ORDER BY seq",
    )
    assert sorted(candidates, key=str) == sorted(
        [
            (seq, *(getattr(one, name) for name in one.__struct_fields__), one.backend == event.backend)
            for seq, event in enumerate(decided, 1)
            for one in event.decision.candidates
        ],
        key=str,
    )
    assert assignments == [
        (
            event.backend, event.attempt, event.decision.policy, event.decision.reason, event.decision.seen,
            event.decision.seed, event.decision.propensity,
            *((chosen.cost, chosen.latency, chosen.quality) if chosen else (None,) * 3), event.tokens,
            getattr(event, "hold", None) and event.hold.amount,
        )
        for event in decided
        for chosen in [event.decision.candidates.of(event.backend)]
    ]  # fmt: skip


def test_no_old_version_was_forgotten():
    """A new upcaster has to be thought of here: a table that reads the event's data has to read the old form too."""
    in_no_table = {"callboard.backend.priced.v0"}
    assert UPCASTERS.keys() - in_no_table == {"callboard.task.assigned.v1", "callboard.task.hedged.v1"}


async def test_an_event_of_a_later_version_counts_for_nothing():
    """As in the projections: it is in `events`, and no table that says something of it knows it."""
    later = encode([told("t", task.Cancelled("no"), 2)]).replace(b"cancelled.v1", b"cancelled.v2")
    bus = await written([told("t", task.Submitted(task_spec.TaskSpec("hello")), 1)])
    await bus.log.append(Write(subject_of("task", "t", "cancelled"), later, 1))
    events, tasks = await answers(bus, "SELECT event, type FROM events WHERE seq = 2", "SELECT status FROM tasks")
    assert (events, tasks) == ([("cancelled", "callboard.task.cancelled.v2")], [("submitted",)])


async def test_what_is_no_event_is_seen_as_that(bus):
    """A message that can't be read is a row of `events`, without all that only an event has."""
    await bus.log.append(Write(subject_of("task", "t", "odd"), b"{not json", 1))
    (rows,) = await answers(
        bus, "SELECT seq, kind, entity, type, id, data FROM events ORDER BY seq OFFSET 1", archived=2
    )
    assert rows == [(2, "task", "t", None, None, None)]


async def test_what_was_asked_is_told_as_it_is_stored():
    """A text, the last of messages, what a context showed, or how large it is where it lies."""
    asked = [
        task_spec.TaskSpec("a text"),
        task_spec.TaskSpec((task_spec.Message("system", "be brief"), task_spec.Message("user", "the last"))),
        task_spec.TaskSpec("", shown=task_spec.Shown(newest="what was said")),
        task_spec.TaskSpec(task_spec.Blob("00", 1_234_567)),
    ]
    bus = await written([told(f"t{n}", task.Submitted(spec), 1) for n, spec in enumerate(asked)])
    (rows,) = await answers(bus, "SELECT asked FROM tasks ORDER BY task")
    assert rows == [("a text",), ("the last",), ("what was said",), ("(1,234,567 bytes)",)]


reservations = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(("a", "b")), st.integers(0, 9), st.integers(0, 9)))


@settings(max_examples=8, deadline=None)
@given(reservations)
@example([(1, "a", 5, 0), (2, "a", 3, 0), (1, "a", 4, 0), (2, "a", 2, 2), (3, "a", 0, 0)])
async def test_budgets_stand_where_their_history_says(wishes):
    """Whatever was reserved, settled and refunded, also under a name that was used before."""
    state, history = budget.Budget("team"), []
    for kind, hold, amount, kept in [(0, "", 90, 0), *wishes]:
        wish = (
            budget.Granted(amount * 10, "org"),
            budget.Reserved(hold, amount),
            budget.Settled(hold, amount, kept),
            budget.Refunded(hold),
            budget.Breached("t", 1, 1),
        )[kind]
        try:
            events = budget.decide(state, wish)
        except CallboardError:
            continue
        for event in events:
            state = budget.evolve(state, event)
            history.append(told("team", event, len(history) + 1, "budget"))
    (rows,) = await answers(
        await written(history), 'SELECT "limit", parent, on_breach, settled, held, "left" FROM budgets'
    )
    assert rows == [(state.limit, "org", "stop", state.settled, state.held, state.left)]


async def test_agents_are_counted():
    """What they got, did and failed at."""
    events = [
        agent.Received("m", agent.Value("hi")),
        agent.Taken("m", "h1", 1),
        agent.Sent("ask", "scout", 1, "x", agent.Value(), ("writer",), agent.HandOff()),
        agent.Stumbled("m", 1, agent.StepFailure("ValueError", "no"), START),
        agent.Taken("m", "h2", 2),
        agent.DeadLettered("m", agent.StepFailure("ValueError", "no")),
    ]
    history = [told("writer--1", event, number, "agent") for number, event in enumerate(events, 1)]
    (rows,) = await answers(
        await written(history),
        "SELECT agent, definition, received, finished, set_aside, stumbled, sent, handoffs, epoch, host FROM agents",
    )
    assert rows == [("writer/1", "writer", 1, 0, 1, 1, 1, 1, 2, "h2")]


async def test_spans_are_those_of_the_projection():
    """With their ids; what is under way has no end."""
    history = [
        told("fast", backend.Registered(backend.BackendSpec("openai", "m")), 1, "backend"),
        told("t", task.Submitted(task_spec.TaskSpec("hello")), 1),
        told("t", task.Assigned("fast", 1, 9, task_spec.Decision("p", "r", 0)), 2),
        told("t", task.Started("fast", 1, "w"), 3),
    ]
    bus = await written(history)
    records = [record async for batch in bus.log.read_all() for record in batch]
    _, ended = tell(Spans(), records)
    (rows,) = await answers(bus, "SELECT trace, span, name, task, ended FROM spans ORDER BY ended IS NULL, span")
    assert [row[:3] for row in rows[:2]] == sorted(
        [(each.span.trace, each.span.span, each.span.name) for each in ended], key=lambda row: row[1]
    )
    assert sorted(row[2:] for row in rows[2:]) == [("chat m", "t", None), ("invoke_workflow task", "t", None)]


REFUSED = (
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{tail}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{tail}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN /**/ ANALYZE COPY (SELECT 1) TO '{tail}' (FORMAT parquet, USE_TMP_FILE false)",
    "SELECT 1; COPY (SELECT 1) TO '{tail}' (FORMAT parquet, USE_TMP_FILE false)",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{folder}/log')",
    "SELECT * FROM subprocess",
    "INSTALL httpfs",
    "LOAD httpfs",
    "ATTACH '{folder}/other.db'",
    "ATTACH ':memory:' AS other",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA version",
    "CREATE TABLE mine AS SELECT 1",
    "DROP VIEW events",
    "DELETE FROM events",
    "EXPORT DATABASE '{folder}/all'",
    "",
)


async def test_nothing_but_the_log_can_be_reached(bus, tmp_path):
    """No file, no network, no extension, no variable of Python, no setting, and nothing that changes: in one line."""
    subprocess = [1]  # a name that DuckDB's replacement scans would find
    sources = await gather("events", bus.log, tmp_path)
    files, tail = sorted(tmp_path.iterdir()), sources.events[-1].read_bytes()
    with Database(sources) as database:
        for query in REFUSED:
            with pytest.raises(InvalidQuery, match=r"^[^\n]+$"):
                [*database.query(query.format(folder=tmp_path, tail=sources.events[-1])).chunks]
            assert [*database.query("SELECT count(*) FROM events").chunks] == [[(1,)]]
    assert (sorted(tmp_path.iterdir()), sources.events[-1].read_bytes(), subprocess) == (files, tail, [1])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC" (line 1, column 1)'),
        (
            "SELECT 'ß',\n  foo",
            'Referenced column "foo" was not found because the FROM clause is missing (line 2, column 3)',
        ),
        ("SELECT * FROM evnts", 'Table with name evnts does not exist! Did you mean "events"? (line 1, column 15)'),
    ],
)
async def test_a_mistake_is_told_with_its_place(query, told, bus, tmp_path):
    """In one line, with the line and the column that it is in."""
    with Database(await gather(query, bus.log, tmp_path)) as database, pytest.raises(InvalidQuery) as no:
        database.query(query)
    assert str(no.value) == told


async def test_explaining_a_query_is_a_query(bus, tmp_path):
    """As DuckDB has it, also with what it really took."""
    with Database(await gather("events", bus.log, tmp_path)) as database:
        for query in ("EXPLAIN SELECT 1", "explain analyze SELECT count(*) FROM events"):
            assert [name for name, _ in database.query(query).columns] == ["explain_key", "explain_value"]


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
async def test_a_missing_package_is_named(package, bus, tmp_path, monkeypatch):
    """In one line that says how to install it."""
    sources = await gather("events", bus.log, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalled, match=r"^[^\n]*pip install 'callboard\[archive\]'$"):
        await gather("events", bus.log, tmp_path) if package == "pyarrow" else Database(sources)


async def test_a_damaged_archive_is_told(bus, tmp_path):
    """In one line, which says how to learn more."""
    sources = await gather("events", bus.log, tmp_path)
    sources.events[-1].write_bytes(b"PAR1 no more")
    with pytest.raises(Damaged, match=r"^the archive can't be read [^\n]*`callboard archive --verify` says more$"):
        Database(sources)


def test_only_what_is_named_is_read():
    """A query of tasks needs no event of anything else."""
    assert [table.name for table in named("select * from Costs join tasks using (task) where tasks.cost > 1")] == [
        "tasks",
        "costs",
    ]
    assert subjects("SELECT * FROM costs, budgets") == ("evt.*.budget.>", "evt.*.task.>")
    assert subjects("SELECT * FROM costs, events") == subjects("SELECT 1") == ("evt.>",)
