"""Metrics of the streams and of the queues on them, as JetStream reports them."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from callboard.bus.report import Report
from callboard.deploy.prometheus import families


def streams(report: Report | None) -> Iterator[Metric]:
    """All of them; of what did not answer (None), that it did not."""
    up = families.NATS_UP.gauge()
    up.add_metric((), report is not None)
    yield up
    messages, size, limit = families.MESSAGES.gauge(), families.BYTES.gauge(), families.MAX_BYTES.gauge()
    sequence, pending, unacked = families.STREAM_SEQ.gauge(), families.PENDING.gauge(), families.UNACKED.gauge()
    for stream in report.streams if report else ():
        of = (stream.name,)
        messages.add_metric(of, stream.messages)
        size.add_metric(of, stream.bytes)
        sequence.add_metric(of, stream.last_seq)
        if stream.max_bytes >= 0:
            limit.add_metric(of, stream.max_bytes)
        for consumer in stream.consumers:
            pending.add_metric((stream.name, consumer.name), consumer.pending)
            unacked.add_metric((stream.name, consumer.name), consumer.unacknowledged)
    yield from (messages, size, limit, sequence, pending, unacked)
