"""Budgets and agents."""

from typing import Final

from callboard.deploy.sql.table import ORDER, TIME, Column, Table, data_as, types_of
from callboard.events import agent_events as agent
from callboard.events import budget
from callboard.events.agent_names import SEPARATOR

_BUDGET_FIELDS: Final = """
    "limit": "BIGINT", "parent": "VARCHAR", "on_breach": "VARCHAR", "hold": "VARCHAR", "amount": "BIGINT",
    "kept": "BIGINT"
"""
_AGENT_FIELDS: Final = """
    "message": "VARCHAR", "sender": "VARCHAR", "handoff": "JSON", "failure": {"kind": "VARCHAR"}, "epoch": "BIGINT",
    "host": "VARCHAR"
"""

BUDGETS: Final = Table(
    "budgets",
    "a budget, as its own history tells; what was spent from a lease since it was settled last is in costs alone",
    (
        Column("budget", "VARCHAR", "its name"),
        Column("limit", "BIGINT", "micro-dollars that may be spent"),
        Column("parent", "VARCHAR", "the budget that it is part of"),
        Column("on_breach", "VARCHAR", "what happens when the money does not suffice: ask, degrade or stop"),
        Column("settled", "BIGINT", "micro-dollars that were spent"),
        Column("held", "BIGINT", "micro-dollars that are held for leases and calls under way"),
        Column("left", "BIGINT", "micro-dollars that can be reserved"),
        Column("breaches", "BIGINT", "how often it was told that the money does not suffice"),
    ),
    f"""
    WITH told AS (
        SELECT entity AS budget, {ORDER} AS nth, event, {data_as(_BUDGET_FIELDS)} AS d
        FROM events
        WHERE type IN ({types_of(budget.Granted, budget.Reserved, budget.Settled, budget.Refunded, budget.Breached)})
    ),
    steps AS (
        SELECT budget, nth, event, d, count(*) FILTER (event = 'reserved') OVER (
            PARTITION BY budget, d.hold ORDER BY nth
        ) AS lease
        FROM told WHERE event IN ('reserved', 'settled', 'refunded')
    ),
    leases AS (
        SELECT budget, d.hold AS hold, lease,
            coalesce(arg_max(d.amount, nth) FILTER (event = 'settled'), 0) AS settled,
            arg_max(
                CASE event WHEN 'reserved' THEN d.amount WHEN 'settled' THEN coalesce(d.kept, 0) ELSE 0 END, nth
            ) AS held,
            lease = max(lease) OVER (PARTITION BY budget, d.hold) AS newest
        FROM steps GROUP BY budget, d.hold, lease
    ),
    sums AS (
        SELECT budget, sum(settled) AS settled, sum(held) FILTER (newest) AS held FROM leases GROUP BY budget
    ),
    granted AS (
        SELECT budget, arg_max(d, nth) FILTER (event = 'granted') AS d,
            count(*) FILTER (event = 'breached') AS breaches
        FROM told GROUP BY budget
    )
    SELECT budget, d.limit AS limit, d.parent AS parent, coalesce(d.on_breach, 'stop') AS on_breach,
        coalesce(settled, 0)::BIGINT AS settled, coalesce(held, 0)::BIGINT AS held,
        greatest(d.limit - coalesce(settled, 0) - coalesce(held, 0), 0)::BIGINT AS left, breaches
    FROM granted LEFT JOIN sums USING (budget)
    """.replace(" AS limit", ' AS "limit"').replace(" AS left", ' AS "left"'),
    frozenset({"budget"}),
)

AGENTS: Final = Table(
    "agents",
    "an agent that ever got a message, or was defined",
    (
        Column("agent", "VARCHAR", "its name, as writer or writer/customer-42"),
        Column("definition", "VARCHAR", "the definition that it is an instance of"),
        Column("first", TIME, "its first event"),
        Column("newest", TIME, "its newest event"),
        Column("received", "BIGINT", "messages that it got"),
        Column("finished", "BIGINT", "messages that it has done with"),
        Column("failed", "BIGINT", "messages of those that ended with a failure"),
        Column("set_aside", "BIGINT", "messages that were set aside and not tried again"),
        Column("stumbled", "BIGINT", "times that its handler failed and was tried again"),
        Column("steps", "BIGINT", "steps that have ended"),
        Column("sent", "BIGINT", "messages that it sent to other agents"),
        Column("handoffs", "BIGINT", "messages of those that it waited for an answer to"),
        Column("epoch", "BIGINT", "how often a message was taken up"),
        Column("host", "VARCHAR", "where that was last"),
    ),
    f"""
    WITH told AS (
        SELECT entity AS agent, {ORDER} AS nth, event, time, {data_as(_AGENT_FIELDS)} AS d
        FROM events WHERE type IN ({types_of(*agent.AgentEvent.__args__)})
    )
    SELECT replace(agent, '{SEPARATOR}', '/') AS agent, split_part(agent, '{SEPARATOR}', 1) AS definition,
        min(time) AS first, max(time) AS newest,
        count(*) FILTER (event = 'received') AS received,
        count(*) FILTER (event = 'finished') AS finished,
        count(*) FILTER (event = 'finished' AND d.failure IS NOT NULL) AS failed,
        count(*) FILTER (event = 'dead_lettered') - count(*) FILTER (event = 'requeued') AS set_aside,
        count(*) FILTER (event = 'stumbled') AS stumbled,
        count(*) FILTER (event = 'stepped') AS steps,
        count(*) FILTER (event = 'sent') AS sent,
        count(*) FILTER (event = 'sent' AND d.handoff IS NOT NULL) AS handoffs,
        coalesce(max(d.epoch), 0) AS epoch,
        arg_max(d.host, nth) FILTER (event = 'taken') AS host
    FROM told GROUP BY told.agent
    """,
    frozenset({"agent"}),
)
