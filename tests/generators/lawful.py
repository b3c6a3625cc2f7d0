"""Whether what actors wrote in a test audits clean."""

from callboard.bus.memory import MemoryBus
from callboard.projections.audit import Audit, Options, Severity


def unlawful(bus: MemoryBus) -> list[str]:
    """What the audit finds wrong with a bus's log."""
    fold, stream = Audit(Options(shards=bus.shards)), bus._server.stream
    for record in stream.between(0, stream.end):
        fold.take(record.seq, record.time_ns, record.subject, record.data)
    return [
        f"{each.kind} at {each.seq}: {each.told}"
        for each in fold.finish().findings
        if each.severity is not Severity.NOTE
    ]
