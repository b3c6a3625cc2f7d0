"""What is logged while somebody works at what is about a person says no more than that."""

import structlog


def discreet(person: str | None) -> None:
    """Let the log lines of the running asyncio task, and of those that it starts, tell of whom they are.

    The log then leaves out what may quote what was said; see `callboard.deploy.logs`.
    """
    if person:
        structlog.contextvars.bind_contextvars(private=person)


def is_discreet() -> bool:
    """Whether what the running task works at is about a person."""
    return bool(structlog.contextvars.get_contextvars().get("private"))
