"""Deliveries to a collector or a file, which may fail for a while: said once when they do, and once when they don't."""

import logging
import threading
from collections.abc import Callable, Mapping

import structlog

_log = structlog.get_logger(__name__)


class Deliveries:
    """Deliveries of ``what`` to ``where``; tells whoever reads the log about a change for the worse or the better."""

    def __init__(self, what: str, where: str) -> None:
        self._what = what
        self._where = where
        self._failing = False

    def attempt(self, deliver: Callable[[], bool]) -> bool:
        """Whether ``deliver`` said that it succeeded; one that raises did not."""
        delivered, why = attempted(deliver)
        if not delivered and not self._failing:
            _log.warning(f"{self._what} can't be delivered, trying again", where=self._where, why=why)
        elif self._failing and delivered:
            _log.info(f"{self._what} are delivered again", where=self._where)
        self._failing = not delivered
        return delivered


def attempted(deliver: Callable[[], bool]) -> tuple[bool, str]:
    """Whether ``deliver`` said that it succeeded, and what was said of it; one that raises did not."""
    _words.clear()
    try:
        return deliver(), _words.gist()
    except Exception as error:
        return False, str(error)


def collector(signal: str, environ: Mapping[str, str]) -> str | None:
    """Where the environment wants ``traces`` or ``metrics`` to be sent, if anywhere."""
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((environ[name] for name in names if environ.get(name)), None)


def overhear() -> None:
    """Take what the OTLP exporters log as the reason of a failure, instead of printing it: they tell nobody else."""
    logger = logging.getLogger("opentelemetry.exporter.otlp")
    logger.propagate = False
    logger.handlers = [_words]


class _Words(logging.Handler):
    """Keeps what was logged in this thread since `clear`."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def clear(self) -> None:
        """Forget what was said."""
        self._here.said = []

    def emit(self, record: logging.LogRecord) -> None:
        self._here.__dict__.setdefault("said", []).append(record.getMessage())

    def gist(self) -> str:
        """What was said first, which has the cause, and last, which has the outcome."""
        said: list[str] = self._here.said
        return "; ".join(dict.fromkeys((*said[:1], *said[-1:])))


_words = _Words()
