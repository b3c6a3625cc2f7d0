"""All metrics of a process as text for Prometheus."""

import asyncio
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from callboard.actors.projector import Projector
from callboard.bus.errors import BusError
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.report import Report
from callboard.deploy.prometheus import families
from callboard.deploy.prometheus.measured import measured
from callboard.deploy.prometheus.projected import projected
from callboard.deploy.prometheus.streams import streams
from callboard.projections.measures import MEASURES

REPORT_S: Final = 2.0
REPORT_KEPT_S: Final = 5.0
"""JetStream is asked no more often than this, however many scrape."""

LAG_EVERY_S: Final = 0.25
_LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REQUEST_BOUNDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Exposition(Collector):
    """The metrics of ``projector``, of what is folded for metrics alone, of the streams, and of this process."""

    def __init__(self, bus: JetStreamBus, projector: Projector) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double every counter, for nothing
        self._bus = bus
        self._projector = projector
        self._folder = Projector(bus, MEASURES, subjects=("evt.*.task.>",), snapshot=MEASURES.name)
        self._caught_up = False
        self._report: Report | None = None
        self._asked_at = float("-inf")
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._lag = Histogram(families.LAG.name, families.LAG.about, registry=self._registry, buckets=_LAG_BOUNDS)
        requests, times = families.REQUESTS, families.REQUEST_TIME
        self._requests = Counter(requests.name, requests.about, requests.labels, registry=self._registry)
        self._times = Histogram(times.name, times.about, times.labels, registry=self._registry, buckets=_REQUEST_BOUNDS)
        self.streams_open = 0

    async def follow(self) -> None:
        """Fold what metrics count, until cancelled; before it has caught up, nothing is shown of it."""
        await self._folder.catch_up()
        self._caught_up = True
        await self._folder.run()

    async def listen_to_the_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._lag.observe(max(loop.time() - due, 0.0))

    async def save(self) -> None:
        """Keep what was folded, so that the next start is a short one."""
        await self._folder.save()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._times.labels(route).observe(seconds)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics, and their media type: of those that ``accept`` names, OpenMetrics or Prometheus' own text."""
        at = asyncio.get_running_loop().time()
        if at - self._asked_at > REPORT_KEPT_S:
            self._asked_at, self._report = at, await self._ask()
        encode, media = choose_encoder(accept)
        return await asyncio.to_thread(encode, self._registry), media  # thousands of lines: let others have a turn

    def collect(self) -> Iterator[Metric]:
        """What is not counted in this process, as of now."""
        build, open_streams = families.BUILD.gauge(), families.STREAMS.gauge()
        build.add_metric((version("callboard"),), 1)
        open_streams.add_metric((), self.streams_open)
        yield from (build, open_streams)
        yield from projected(self._projector)
        if self._caught_up:
            yield from measured(self._folder.state(MEASURES))
        yield from streams(self._report)

    async def _ask(self) -> Report | None:
        if not self._bus.connected:
            return None
        try:
            async with asyncio.timeout(REPORT_S):
                return await self._bus.report()
        except (BusError, TimeoutError):
            return None
