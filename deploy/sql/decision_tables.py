"""Routing decisions and the backends that they chose among, whatever version the events are of."""

from typing import Final

from callboard.deploy.sql.table import TIME, Column, Table, data_as, types_of
from callboard.events import task
from callboard.events.placement import Hedged

_OF_TASKS: Final = frozenset({"task"})
_FIELDS: Final = """
    "backend": "VARCHAR", "attempt": "BIGINT", "call": "BIGINT", "tokens": "BIGINT", "cached": "BIGINT",
    "service": "BIGINT", "priority": "BIGINT", "check": "VARCHAR",
    "hold": {"budget": "VARCHAR", "amount": "BIGINT", "lease": "VARCHAR"},
    "decision": {
        "policy": "VARCHAR", "reason": "VARCHAR", "seen": "BIGINT", "seed": "UBIGINT", "propensity": "BIGINT",
        "candidates": "JSON"
    }
"""
_ROWS: Final = """
    '[{"backend": "VARCHAR", "cost": "BIGINT", "latency": "BIGINT", "quality": "BIGINT", "cached": "BIGINT",
    "excluded": "VARCHAR"}]'
"""
_COLUMNS: Final = """
    '{"backends": ["VARCHAR"], "costs": ["BIGINT"], "latencies": ["BIGINT"], "qualities": ["BIGINT"],
    "cached": ["BIGINT"], "excluded": "MAP(VARCHAR, VARCHAR)"}'
"""
_LEFT_OUT: Final = "'cost': NULL::BIGINT, 'latency': NULL::BIGINT, 'quality': NULL::BIGINT, 'cached': NULL::BIGINT"
_OF_ROWS: Final = f"""
    list_transform(from_json(d.decision.candidates, {_ROWS}), lambda one: CASE
        WHEN one.excluded IS NULL THEN {{
            'backend': one.backend, 'cost': coalesce(one.cost, 0), 'latency': coalesce(one.latency, 0),
            'quality': coalesce(one.quality, 0), 'cached': coalesce(one.cached, 0), 'excluded': NULL::VARCHAR
        }}
        ELSE {{'backend': one.backend, {_LEFT_OUT}, 'excluded': one.excluded}}
    END)
"""
_OF_COLUMNS: Final = f"""
    list_transform([from_json(d.decision.candidates, {_COLUMNS})], lambda seen: list_concat(
        list_transform(range(1, coalesce(len(seen.backends), 0) + 1), lambda n: {{
            'backend': seen.backends[n], 'cost': seen.costs[n], 'latency': seen.latencies[n],
            'quality': seen.qualities[n], 'cached': coalesce(seen.cached[n], 0), 'excluded': NULL::VARCHAR
        }}),
        list_transform(coalesce(map_entries(seen.excluded), []), lambda out: {{
            'backend': out.key, {_LEFT_OUT}, 'excluded': out.value
        }})
    ))[1]
"""

DECISIONS: Final = f"""
    WITH told AS (
        SELECT seq, entity AS task, time, event, {data_as(_FIELDS)} AS d
        FROM events WHERE type IN ({types_of(task.Assigned, Hedged)})
    )
    SELECT seq, task, time, event, d,
        CASE json_type(d.decision.candidates) WHEN 'ARRAY' THEN {_OF_ROWS} ELSE {_OF_COLUMNS} END AS options
    FROM told
"""
"""What both tables are made of: candidates are rows in the old versions of the events, and columns in the new ones."""

ASSIGNMENTS: Final = Table(
    "assignments",
    "a routing decision",
    (
        Column("seq", "BIGINT", "the log sequence of the decision"),
        Column("time", TIME, "when it was made"),
        Column("task", "VARCHAR", "the task"),
        Column("attempt", "BIGINT", "the number of the assignment among those of the task, from 1"),
        Column("backend", "VARCHAR", "the backend that was chosen"),
        Column("hedges", "BIGINT", "the late call beside which it is asked; NULL for an ordinary assignment"),
        Column("policy", "VARCHAR", "the policy that chose, with its version"),
        Column("reason", "VARCHAR", "why"),
        Column("seen", "BIGINT", "the log sequence that the router's view stood at"),
        Column("seed", "UBIGINT", "the seed of the draw"),
        Column("propensity", "BIGINT", "how likely this choice was, in parts per million"),
        Column("options", "BIGINT", "backends that could have done it"),
        Column("predicted_cost", "BIGINT", "micro-dollars that it was thought to cost"),
        Column("predicted_latency_ns", "BIGINT", "ns that it was thought to take, waiting included"),
        Column("predicted_service_ns", "BIGINT", "ns that the call alone was thought to take"),
        Column("predicted_quality", "BIGINT", "how good the answer was thought to be, in parts per million"),
        Column("predicted_tokens", "BIGINT", "tokens in and out that it was thought to take"),
        Column("predicted_cached", "BIGINT", "tokens of them that were thought to be in the backend's cache"),
        Column("priority", "BIGINT", "0 to 9, which is first"),
        Column("check", "VARCHAR", "what the answer has to pass"),
        Column("budget", "VARCHAR", "the budget that money was held of"),
        Column("held", "BIGINT", "micro-dollars that were held"),
    ),
    f"""
    WITH chosen AS (
        SELECT *, list_filter(options, lambda one: one.backend = d.backend)[1] AS choice FROM ({DECISIONS})
    )
    SELECT seq, time, task, d.attempt AS attempt, d.backend AS backend,
        CASE event WHEN 'hedged' THEN d.call END AS hedges, d.decision.policy AS policy, d.decision.reason AS reason,
        d.decision.seen AS seen, coalesce(d.decision.seed, 0) AS seed,
        coalesce(d.decision.propensity, 1000000) AS propensity,
        len(list_filter(options, lambda one: one.excluded IS NULL)) AS options, choice.cost AS predicted_cost,
        choice.latency AS predicted_latency_ns, nullif(d.service, 0) AS predicted_service_ns,
        choice.quality AS predicted_quality, d.tokens AS predicted_tokens, coalesce(d.cached, 0) AS predicted_cached,
        coalesce(d.priority, 0) AS priority, nullif(d.check, '') AS check, d.hold.budget AS budget,
        d.hold.amount AS held
    FROM chosen
    """,
    _OF_TASKS,
)

CANDIDATES: Final = Table(
    "candidates",
    "a backend in a routing decision, as the router saw it",
    (
        Column("seq", "BIGINT", "the log sequence of the decision"),
        Column("task", "VARCHAR", "the task"),
        Column("attempt", "BIGINT", "the number of the assignment among those of the task"),
        Column("backend", "VARCHAR", "the backend"),
        Column("chosen", "BOOLEAN", "whether it was chosen"),
        Column("cost", "BIGINT", "micro-dollars that it was thought to cost; NULL if it was left out"),
        Column("latency_ns", "BIGINT", "ns that it was thought to take"),
        Column("quality", "BIGINT", "how good its answer was thought to be, in parts per million"),
        Column("cached", "BIGINT", "tokens that were thought to be in its cache"),
        Column("excluded", "VARCHAR", "why it was left out"),
    ),
    f"""
    WITH each AS (
        SELECT seq, task, d.attempt AS attempt, d.backend AS chosen, unnest(options) AS one FROM ({DECISIONS})
    )
    SELECT seq, task, attempt, one.backend AS backend, one.backend = chosen AS chosen, one.cost AS cost,
        one.latency AS latency_ns, one.quality AS quality, one.cached AS cached, one.excluded AS excluded
    FROM each
    """,
    _OF_TASKS,
)
