"""The events themselves."""

from typing import Final

from callboard.deploy.sql.table import TIME, Column, Table

STORED: Final = "stored_events"
"""What `events` is a view of: the columns of the archive's segments, of archive and live tail together."""

EVENTS: Final = Table(
    "events",
    "an event, or a message that is none: then id and all that follows from it are NULL",
    (
        Column("seq", "BIGINT", "the log sequence of its message"),
        Column("place", "SMALLINT", "its index in the message, from 0"),
        Column("stored", TIME, "when the log stored it"),
        Column("subject", "VARCHAR", "the subject of its message"),
        Column("shard", "SMALLINT", "the shard of its entity"),
        Column("kind", "VARCHAR", "task, agent, approval, backend, budget, context or schedule"),
        Column("entity", "VARCHAR", "the id of the task, agent … that it is about"),
        Column("event", "VARCHAR", "what happened, as assigned"),
        Column("type", "VARCHAR", "the whole type with its version, as callboard.task.assigned.v2"),
        Column("id", "VARCHAR", "the event's id"),
        Column("source", "VARCHAR", "who says so"),
        Column("time", TIME, "when it happened, by the clock of whoever says so"),
        Column("version", "BIGINT", "the number of the event among those of its entity, from 1"),
        Column("causationid", "VARCHAR", "the event that was acted upon"),
        Column("correlationid", "VARCHAR", "the root task, or the agent"),
        Column("traceparent", "VARCHAR", "the span that it belongs to"),
        Column("trace", "VARCHAR", "the trace that it belongs to"),
        Column("prevhash", "VARCHAR", "the SHA-256 of the entity's message before this one"),
        Column("data", "JSON", "what the event says, as it was stored: of the version that its type names"),
        Column("raw", "BLOB", "the event's bytes as they were stored"),
    ),
    f"""
    SELECT seq, place, make_timestamptz(stored_ns // 1000) AS stored, subject, shard, kind, entity, event, type, id,
        source, time, version, causationid, correlationid, traceparent, nullif(traceparent[4:35], '') AS trace,
        prevhash, json_extract(decode(raw), '$.data') AS data, raw
    FROM {STORED}
    """,
)
