"""Model calls, what was spent on them, and how good their answers were.

Sums over ``costs`` are those of `callboard.projections.cost`, to the micro-dollar.
"""

from typing import Final

from callboard.deploy.sql.table import ORDER, TIME, Column, Table, data_as, types_of
from callboard.deploy.sql.task_tables import BOOKS
from callboard.events import task
from callboard.events.cascade import Answered, Declined

_OF_TASKS: Final = frozenset({"task"})
_BOOKED: Final = (task.Completed, Answered, task.Failed, task.Spent)
_FIELDS: Final = """
    "backend": "VARCHAR", "call": "BIGINT", "worker": "VARCHAR", "model": "VARCHAR", "finish": "VARCHAR",
    "usage": {"input": "BIGINT", "output": "BIGINT", "cached": "BIGINT"}, "cost": "BIGINT",
    "first_token": "BIGINT", "duration": "BIGINT", "booked": "BOOLEAN", "estimated": "BOOLEAN", "reason": "VARCHAR",
    "failure": {"kind": "VARCHAR", "message": "VARCHAR"}
"""
_TOKENS: Final = (
    Column("tokens_in", "BIGINT", "tokens that it read"),
    Column("tokens_out", "BIGINT", "tokens that it wrote"),
    Column("tokens_cached", "BIGINT", "tokens of those read that a prompt cache served"),
)
_JUDGED: Final = """
    "call": "BIGINT", "backend": "VARCHAR", "score": "BIGINT", "source": "VARCHAR", "note": "VARCHAR"
"""

CALLS: Final = Table(
    "calls",
    "a model call",
    (
        Column("task", "VARCHAR", "the task that it was made for"),
        Column("call", "BIGINT", "its number among the task's calls, from 1"),
        Column("backend", "VARCHAR", "who was called"),
        Column("worker", "VARCHAR", "who called"),
        Column("began", TIME, "when it began"),
        Column("ended", TIME, "when the log was told how it ended"),
        Column("outcome", "VARCHAR", "completed, answered, declined, failed, interrupted or spent; NULL: not told yet"),
        Column("model", "VARCHAR", "the model that answered, as it calls itself"),
        Column("finish", "VARCHAR", "why the answer ended: stop, length, tool_calls …"),
        *_TOKENS,
        Column("cost", "BIGINT", "micro-dollars; NULL while nobody has told"),
        Column("first_token_ns", "BIGINT", "ns until the first token, 0 if nobody saw it come"),
        Column("duration_ns", "BIGINT", "ns that it took"),
        Column("error", "VARCHAR", "the kind of failure, as rate_limited"),
        Column("reason", "VARCHAR", "why it failed, or was not wanted"),
    ),
    f"""
    WITH told AS (
        SELECT entity AS task, {ORDER} AS nth, event, time, {data_as(_FIELDS)} AS d
        FROM events
        WHERE type IN ({types_of(task.Started, task.Interrupted, Declined, *_BOOKED)})
    )
    SELECT
        task,
        d.call AS call,
        arg_min(d.backend, nth) AS backend,
        arg_min(d.worker, nth) FILTER (event = 'started') AS worker,
        min(time) FILTER (event = 'started') AS began,
        max(time) FILTER (event = 'interrupted' OR {BOOKS}) AS ended,
        arg_max(event, nth) FILTER (event <> 'started') AS outcome,
        arg_max(d.model, nth) AS model,
        arg_max(coalesce(d.finish, 'stop'), nth) FILTER (event IN ('completed', 'answered')) AS finish,
        sum(coalesce(d.usage.input, 0)) FILTER ({BOOKS})::BIGINT AS tokens_in,
        sum(coalesce(d.usage.output, 0)) FILTER ({BOOKS})::BIGINT AS tokens_out,
        sum(coalesce(d.usage.cached, 0)) FILTER ({BOOKS})::BIGINT AS tokens_cached,
        sum(coalesce(d.cost, 0)) FILTER ({BOOKS})::BIGINT AS cost,
        arg_max(coalesce(d.first_token, 0), nth) FILTER (event IN ('completed', 'answered')) AS first_token_ns,
        arg_max(coalesce(d.duration, 0), nth) FILTER (event IN ('completed', 'answered', 'failed')) AS duration_ns,
        arg_max(d.failure.kind, nth) AS error,
        arg_max(coalesce(d.failure.message, d.reason), nth) AS reason
    FROM told GROUP BY task, d.call
    """,
    _OF_TASKS,
)

COSTS: Final = Table(
    "costs",
    "a call that was booked, once",
    (
        Column("seq", "BIGINT", "the log sequence of the booking"),
        Column("time", TIME, "when it was booked"),
        Column("day", "DATE", "the same as a day, in UTC"),
        Column("task", "VARCHAR", "the task that it was made for"),
        Column("call", "BIGINT", "its number among the task's calls"),
        Column("event", "VARCHAR", "what booked it: completed, answered, failed or spent"),
        Column("backend", "VARCHAR", "who was called"),
        Column("model", "VARCHAR", "the model that answered, as it calls itself"),
        *_TOKENS,
        Column("cost", "BIGINT", "micro-dollars"),
        Column("wasted", "BIGINT", "micro-dollars of them that bought no answer that was used"),
        Column("estimated", "BOOLEAN", "whether the tokens are a guess, since the model did not tell"),
    ),
    f"""
    WITH told AS (
        SELECT seq, entity AS task, event, time, {data_as(_FIELDS)} AS d
        FROM events WHERE type IN ({types_of(*_BOOKED)})
    ),
    used AS (
        SELECT task, d.call AS call, sum(d.cost) AS worth FROM told
        WHERE event = 'completed' AND d.booked GROUP BY task, d.call
    )
    SELECT
        seq, time, time::DATE AS day, told.task AS task, d.call AS call, event, d.backend AS backend, d.model AS model,
        coalesce(d.usage.input, 0) AS tokens_in, coalesce(d.usage.output, 0) AS tokens_out,
        coalesce(d.usage.cached, 0) AS tokens_cached, coalesce(d.cost, 0) AS cost,
        CASE event
            WHEN 'completed' THEN 0
            WHEN 'answered' THEN d.cost - coalesce(worth, 0)
            ELSE coalesce(d.cost, 0)
        END::BIGINT AS wasted,
        coalesce(d.estimated, false) AS estimated
    FROM told LEFT JOIN used ON used.task = told.task AND used.call = d.call
    WHERE {BOOKS}
    """,
    _OF_TASKS,
)

EVALUATIONS: Final = Table(
    "evaluations",
    "a judgement of an answer",
    (
        Column("seq", "BIGINT", "the log sequence of the judgement"),
        Column("time", TIME, "when it was judged"),
        Column("task", "VARCHAR", "the task"),
        Column("call", "BIGINT", "the call whose answer it is"),
        Column("backend", "VARCHAR", "who answered"),
        Column("score", "BIGINT", "parts per million: 0 is worthless, 1000000 could not be better"),
        Column("source", "VARCHAR", "who judged: user, test, schema, judge or cascade"),
        Column("note", "VARCHAR", "what was said of it"),
    ),
    f"""
    WITH told AS (
        SELECT seq, entity AS task, time, {data_as(_JUDGED)} AS d
        FROM events WHERE type IN ({types_of(task.Evaluated)})
    )
    SELECT seq, time, task, d.call AS call, d.backend AS backend, d.score AS score,
        coalesce(d.source, 'user') AS source, coalesce(d.note, '') AS note
    FROM told
    """,
    _OF_TASKS,
)
