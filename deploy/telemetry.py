"""A node's traces: live spans of what happens on the wire, and, where the role runs, those told from the log."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from callboard.bus.log import Bus
from callboard.deploy.settings import Settings

if TYPE_CHECKING:
    from callboard.deploy.tracing import TraceExport


class Telemetry:
    """Starts exporters as the settings and OTEL_* variables say; does nothing when traces are off."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._folder = settings.data_folder
        self._environ = environ
        self._wanted = settings.telemetry.traces != "off" and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        self._stop_live: Callable[[], None] | None = None
        self.export: TraceExport | None = None
        """The actor that projects spans from the log; None when this process does not."""

    def start(self, bus: Bus, *, from_log: bool) -> None:
        """Set up live spans, and the export from the log if ``from_log``."""
        if not self._wanted:
            return
        # heavy imports, only paid for when traces are wanted
        from callboard.deploy.tracing import TraceExport  # noqa: PLC0415
        from callboard.deploy.tracing_exporters import span_exporter  # noqa: PLC0415
        from callboard.deploy.tracing_live import set_up_live_spans  # noqa: PLC0415

        self._folder.mkdir(parents=True, exist_ok=True)
        exporter = span_exporter(self._folder, self._environ)
        self._stop_live = set_up_live_spans(exporter)
        if from_log:
            self.export = TraceExport(bus, exporter)

    async def stop(self) -> None:
        """Deliver what is still to be told, then close the exporter."""
        if self.export:
            await self.export.aclose()
        if self._stop_live:
            await asyncio.to_thread(self._stop_live)
