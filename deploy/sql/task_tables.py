"""Where tasks stand: in SQL what `callboard.projections.tasks` says in Python; tests compare them on many histories."""

from typing import Final

from callboard.deploy.sql.table import ORDER, TIME, Column, Table, data_as, types_of
from callboard.events import task
from callboard.events.cascade import Answered, Declined
from callboard.events.placement import Hedged
from callboard.events.task import Status

_FIELDS: Final = """
    "backend": "VARCHAR", "call": "BIGINT", "reason": "VARCHAR", "failure": {"message": "VARCHAR"},
    "usage": {"input": "BIGINT", "output": "BIGINT", "cached": "BIGINT"}, "cost": "BIGINT",
    "first_token": "BIGINT", "duration": "BIGINT", "booked": "BOOLEAN", "score": "BIGINT", "payload": "VARCHAR",
    "spec": {
        "input": "JSON", "shown": {"newest": "VARCHAR"}, "tags": ["VARCHAR"], "priority": "BIGINT",
        "owner": "VARCHAR", "parent": "VARCHAR", "context": "VARCHAR", "budget": "VARCHAR", "policy": "VARCHAR"
    }
"""

_PLACED: Final = """
    CASE e.event
        WHEN 'assigned' THEN [{'backend': e.backend, 'call': 0::BIGINT}]
        WHEN 'hedged' THEN list_append(s.placed, {'backend': e.backend, 'call': 0::BIGINT})
        WHEN 'started' THEN list_transform(
            s.placed,
            lambda one: {
                'backend': one.backend, 'call': CASE WHEN one.backend = e.backend THEN e.call ELSE one.call END
            }
        )
        WHEN 'interrupted' THEN list_transform(
            s.placed,
            lambda one: {'backend': one.backend, 'call': CASE WHEN one.call = e.call THEN 0 ELSE one.call END}
        )
        WHEN 'failed' THEN list_filter(s.placed, lambda one: one.backend <> e.backend)
        WHEN 'released' THEN list_filter(s.placed, lambda one: e.backend <> '' AND one.backend <> e.backend)
        ELSE []
    END
"""
"""Who has a task after the event ``e``, of those who had it in the state ``s``: see `callboard.events.task`."""

_STATUS: Final = f"""
    CASE
        WHEN e.event = 'hedged' THEN s.status
        WHEN e.event = 'requeued' THEN '{Status.SUBMITTED}'
        WHEN e.event = 'dead_lettered' THEN '{Status.DEAD}'
        WHEN e.event NOT IN ('failed', 'released', 'interrupted') THEN e.event
        WHEN len(list_filter(placed, lambda one: one.call > 0)) > 0 THEN '{Status.STARTED}'
        WHEN len(placed) > 0 THEN '{Status.ASSIGNED}'
        WHEN e.event = 'failed' THEN '{Status.FAILED}'
        WHEN e.event = 'released' THEN '{Status.SUBMITTED}'
        ELSE s.status
    END
"""
_BACKEND: Final = """
    CASE
        WHEN e.event IN ('assigned', 'answered', 'completed') THEN e.backend
        WHEN e.event IN ('submitted', 'parked', 'requeued') THEN NULL
        WHEN e.event IN ('failed', 'released', 'interrupted') AND len(placed) > 0 THEN placed[1].backend
        WHEN e.event = 'failed' THEN e.backend
        WHEN e.event = 'released' THEN NULL
        ELSE s.backend
    END
"""
_STANDING: Final = f"""
    list_reduce(
        steps,
        lambda s, e: list_transform(
            [{_PLACED}],
            lambda placed: {{'status': {_STATUS}, 'backend': {_BACKEND}, 'placed': placed}}
        )[1],
        {{'status': NULL::VARCHAR, 'backend': NULL::VARCHAR, 'placed': []::STRUCT(backend VARCHAR, call BIGINT)[]}}
    )
"""
"""A fold in SQL, event by event: status, backend, and who has the task. Only a task that was hedged needs it.

Of any other, one backend has it at most, so that its newest events tell.
"""

_EVENTS: Final = (
    task.Submitted,
    task.Rejected,
    task.Parked,
    task.Assigned,
    Hedged,
    task.Released,
    task.Started,
    task.Interrupted,
    task.Completed,
    Answered,
    Declined,
    task.Failed,
    task.Spent,
    task.Cancelled,
    task.Expired,
    task.DeadLettered,
    task.Requeued,
    task.Evaluated,
)
BOOKS: Final = "event IN ('answered', 'failed', 'spent') OR event = 'completed' AND NOT coalesce(d.booked, false)"
"""Whether an event settles a call: what is booked of an answer that was set aside, was booked then."""

TASKS: Final = Table(
    "tasks",
    "a task, as it stands",
    (
        Column("task", "VARCHAR", "its id"),
        Column("status", "VARCHAR", "submitted, parked, assigned, started, answered … completed, cancelled, dead …"),
        Column("submitted", TIME, "when it was asked for"),
        Column("ended", TIME, "when it ended; NULL while it is open"),
        Column("backend", "VARCHAR", "who has it, or answered"),
        Column("reason", "VARCHAR", "why it stands there, if something was said"),
        Column("calls", "BIGINT", "model calls that were begun"),
        Column("tokens_in", "BIGINT", "tokens that all its calls read"),
        Column("tokens_out", "BIGINT", "tokens that they wrote"),
        Column("tokens_cached", "BIGINT", "tokens of those read that a prompt cache served"),
        Column("cost", "BIGINT", "micro-dollars for all its calls"),
        Column("first_token_ns", "BIGINT", "ns until the first token of its answer, 0 if nobody saw it come"),
        Column("duration_ns", "BIGINT", "ns that the call of its answer took"),
        Column("score", "BIGINT", "the newest judgement of its answer, in parts per million"),
        Column("priority", "BIGINT", "0 to 9, which is first"),
        Column("tags", "VARCHAR[]", "its tags"),
        Column("owner", "VARCHAR", "the agent that asked"),
        Column("parent", "VARCHAR", "the task that it is a part of"),
        Column("context", "VARCHAR", "the shared context that it reads, as plan@17"),
        Column("budget", "VARCHAR", "the budget that it is paid from"),
        Column("policy", "VARCHAR", "the routing policy that was asked for"),
        Column("root", "VARCHAR", "the task at the root of it, or the agent"),
        Column("trace", "VARCHAR", "the trace that it is in"),
        Column("asked", "VARCHAR", "how its newest text begins, as it is stored"),
    ),
    f"""
    WITH told AS (
        SELECT entity AS task, {ORDER} AS nth, event, time, trace, correlationid, {data_as(_FIELDS)} AS d,
            entity IN (SELECT entity FROM events WHERE type IN ({types_of(Hedged)})) AS hedged
        FROM events WHERE type IN ({types_of(*_EVENTS)})
    ),
    stood AS (
        SELECT
            task,
            arg_max(event, nth) FILTER (event NOT IN ('hedged', 'spent', 'evaluated')) AS newest,
            arg_max_null(
                CASE WHEN event IN ('assigned', 'answered', 'completed', 'failed') THEN d.backend END, nth
            ) FILTER (event IN (
                'assigned', 'answered', 'completed', 'failed', 'submitted', 'parked', 'requeued', 'released'
            )) AS backend,
            list({{'event': event, 'backend': coalesce(d.backend, ''), 'call': coalesce(d.call, 0)}} ORDER BY nth)
                FILTER (hedged AND event NOT IN ('spent', 'evaluated')) AS steps,
            min(time) FILTER (event IN ('submitted', 'rejected')) AS submitted,
            arg_max_null(CASE event WHEN 'requeued' THEN NULL ELSE time END, nth) FILTER (
                event IN ('completed', 'cancelled', 'expired', 'dead_lettered', 'rejected', 'requeued')
            ) AS ended,
            arg_max(
                CASE event
                    WHEN 'failed' THEN d.failure.message
                    WHEN 'expired' THEN 'deadline passed'
                    WHEN 'requeued' THEN 'requeued'
                    WHEN 'completed' THEN ''
                    ELSE coalesce(d.reason, '')
                END, nth
            ) FILTER (event IN (
                'parked', 'released', 'declined', 'failed', 'cancelled', 'expired', 'dead_lettered', 'rejected',
                'requeued', 'completed'
            )) AS reason,
            arg_max(d.call, nth) FILTER (event = 'started') AS calls,
            sum(d.usage.input) FILTER ({BOOKS}) AS tokens_in,
            sum(d.usage.output) FILTER ({BOOKS}) AS tokens_out,
            sum(d.usage.cached) FILTER ({BOOKS}) AS tokens_cached,
            sum(d.cost) FILTER ({BOOKS}) AS cost,
            arg_max(coalesce(d.first_token, 0), nth) FILTER (event = 'completed') AS first_token,
            arg_max(coalesce(d.duration, 0), nth) FILTER (event = 'completed') AS duration,
            arg_max(d.score, nth) FILTER (event = 'evaluated') AS score,
            any_value(d.spec) FILTER (event = 'submitted') AS spec,
            any_value(d.payload) FILTER (event = 'rejected') AS payload,
            arg_min(correlationid, nth) AS root,
            arg_min(trace, nth) AS trace
        FROM told GROUP BY task
    ),
    standing AS (SELECT *, CASE WHEN steps IS NOT NULL THEN {_STANDING} END AS folded FROM stood)
    SELECT
        task,
        CASE
            WHEN folded IS NOT NULL THEN folded.status
            WHEN newest IN ('requeued', 'released') THEN '{Status.SUBMITTED}'
            WHEN newest = 'interrupted' THEN '{Status.ASSIGNED}'
            WHEN newest = 'dead_lettered' THEN '{Status.DEAD}'
            ELSE newest
        END AS status,
        submitted, ended, CASE WHEN folded IS NOT NULL THEN folded.backend ELSE backend END AS backend,
        coalesce(reason, '') AS reason, coalesce(calls, 0) AS calls, coalesce(tokens_in, 0)::BIGINT AS tokens_in,
        coalesce(tokens_out, 0)::BIGINT AS tokens_out, coalesce(tokens_cached, 0)::BIGINT AS tokens_cached,
        coalesce(cost, 0)::BIGINT AS cost, first_token AS first_token_ns, duration AS duration_ns, score,
        coalesce(spec.priority, 0) AS priority, coalesce(spec.tags, []) AS tags, spec.owner AS owner,
        spec.parent AS parent, spec.context AS context, spec.budget AS budget, spec.policy AS policy, root, trace,
        left(CASE json_type(spec.input)
            WHEN 'VARCHAR' THEN coalesce(nullif(spec.input->>'$', ''), spec.shown.newest, '')
            WHEN 'ARRAY' THEN coalesce(spec.input->>'$[#-1].content', spec.shown.newest, '')
            WHEN 'OBJECT' THEN format('({{:,}} bytes)', (spec.input->>'$.size')::BIGINT)
            ELSE coalesce(payload, '')
        END, 120) AS asked
    FROM standing WHERE submitted IS NOT NULL
    """,
    frozenset({"task"}),
)
