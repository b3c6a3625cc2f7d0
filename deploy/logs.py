"""Where log lines go: to standard error, for people on a terminal and as JSON lines anywhere else."""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from callboard.actors.secrets import NO_SECRETS, Secrets
from callboard.deploy.settings import LogLevel
from callboard.events.private import note

_QUOTES = ("error", "reason")
"""What a log line may quote texts in."""

_TALKATIVE = ("httpx", "httpcore")
"""They tell every request with its whole address, in which there may be a key."""


def configure(level: LogLevel, stream: TextIO | None = None, secrets: Secrets = NO_SECRETS) -> None:
    """Set up structlog and the standard library's logging, which asyncio and nats-py use, for the whole process.

    No line holds one of the ``secrets``, whatever it quotes.
    """

    def masked(_logger: object, _method: str, line: Any) -> str:
        return secrets.masked(line)

    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _discreet,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor]
    if stream.isatty():
        rendering = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), masked]
    else:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), masked]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for client in _TALKATIVE:
        logging.getLogger(client).setLevel(logging.WARNING)


def _discreet(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Of what is about a person, no more than the kinds of errors."""
    if person := line.get("private"):
        if raised := line.pop("exc_info", None):
            kind = type(raised) if isinstance(raised, BaseException) else sys.exc_info()[0]
            line["raised"] = kind.__name__ if kind else ""
        line.update({key: note(person) for key in _QUOTES if key in line})
    return line
