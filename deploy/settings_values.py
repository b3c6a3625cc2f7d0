"""How each key of a settings file is read: from the TOML value to what the structs of ``settings`` hold.

A reader takes the value and the key's full name, and raises InvalidInput with a whole sentence that begins with it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, get_args
from urllib.parse import urlsplit

from callboard.bus.addresses import has_user
from callboard.deploy.settings import POLICIES, POLICY_ENTRY_POINTS, Api, LogLevel, ProviderName, Tier, Traces, Workers
from callboard.deploy.units import duration_ns, shown, size_bytes, usd_micros
from callboard.events.backend import MOST_REPLICAS
from callboard.events.errors import InvalidInput
from callboard.events.money import Step
from callboard.events.task import PERFECT

Reader = Callable[[object, str], Any]

REPLICAS = (1, 3, 5)
LEAST_KEPT_NS = 3600 * 1_000_000_000
MOST = 1_000_000
"""Of a resource, more than any machine has."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]*")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_GO_UNIT = re.compile(r"[0-9.]+(?:ms|s|m|h)")
_NATS_SCHEMES = ("nats", "tls", "ws", "wss")


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` is most likely a misspelling of."""
    from difflib import get_close_matches  # noqa: PLC0415  only a mistake needs it

    plain = word.casefold().replace("-", "_")
    return next(iter(get_close_matches(plain, list(known), n=1)), None)


def text(value: object, what: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what} must be a text that is not empty, got {shown(value)}")
    return value


def path(value: object, what: str) -> str:
    """A path, or ``""`` for none."""
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a path, got {shown(value)}")
    return value.strip()


def table(value: object, what: str) -> dict[str, Any]:
    """A table."""
    if isinstance(value, list):  # may hold whole tables with keys in them, so it is not shown
        raise InvalidInput(f"{what} must be a table, got an array; write [{what}] with single brackets")
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be a table, got {shown(value)}")
    return value


def tables(value: object, what: str) -> list[dict[str, Any]]:
    """An array of tables."""
    if isinstance(value, dict):
        raise InvalidInput(f"{what} must be several tables; write each as [[{what}]] with double brackets")
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidInput(f"{what} must be tables, each as [[{what}]], got {shown(value)}")
    return value


def one_of(choices: tuple[str, ...]) -> Reader:
    """A reader of one of a few words."""

    def read(value: object, what: str) -> str:
        if isinstance(value, str) and value in choices:
            return value
        guess = did_you_mean(value, choices) if isinstance(value, str) else None
        hint = f'; did you mean "{guess}"?' if guess else ""
        names = ", ".join(f'"{choice}"' for choice in choices)
        raise InvalidInput(f"{what} must be one of {names}, got {shown(value)}{hint}")

    return read


def whole(least: int, most: int | None = None) -> Reader:
    """A reader of a whole number within bounds."""

    def read(value: object, what: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInput(f"{what} must be a whole number >= {least}, got {shown(value)}")
        if most is not None and value > most:
            raise InvalidInput(f"{what} must be at most {most}, got {shown(value)}")
        return value

    return read


def yes_or_no(value: object, what: str) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be true or false, got {shown(value)}")
    return value


def keep(value: object, what: str) -> int:
    """How long what is closed stays in the log, at least: a process may still be about to write to it."""
    kept_ns = duration_ns(value, what)
    if kept_ns < LEAST_KEPT_NS:
        raise InvalidInput(f"{what} must be at least an hour, got {shown(value)}")
    return kept_ns


def labels(value: object, what: str) -> tuple[str, ...]:
    """A list of words such as ``chat`` or ``region:eu``."""
    if not isinstance(value, list):
        raise InvalidInput(f'{what} must be a list of words such as ["chat"] or ["region:eu"], got {shown(value)}')
    for item in value:
        if not isinstance(item, str) or not _LABEL.fullmatch(item):
            raise InvalidInput(f'{what} must hold words such as "chat" or "region:eu", got {shown(item)}')
    return tuple(dict.fromkeys(value))


def capabilities(value: object, what: str) -> tuple[str, ...]:
    """Labels, at least one: a backend that can do nothing is never chosen."""
    found = labels(value, what)
    if not found:
        raise InvalidInput(f'{what} must name at least one, such as "chat"')
    return found


def http_url(value: object, what: str) -> str:
    """An http or https address without a user name, and without a slash at its end."""
    scheme, host, has_user = _address(value)
    if has_user:
        raise InvalidInput(f"{what} must not hold a user name or a key; name the key's variable in api_key_env")
    if scheme not in ("http", "https") or not host:
        raise InvalidInput(f"{what} must be an address that begins with http:// or https://, got {shown(value)}")
    return str(value).rstrip("/")


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of ``host:port`` or ``[v6]:port``. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or re.search(r"[\s/@\[\]]", host) or (":" in host) != bracketed or not port.isdecimal():
        raise ValueError(address)
    if int(port) > 65535:
        raise ValueError(address)
    return host, int(port)


def listen(value: object, what: str) -> str:
    """``""`` for nowhere, or ``host:port``."""
    if value == "":
        return ""
    try:
        host_and_port(value if isinstance(value, str) else "")
    except ValueError:
        raise InvalidInput(f'{what} must be like "127.0.0.1:8080" (or "" for no HTTP), got {shown(value)}') from None
    return str(value)


def nats_url(value: object, what: str) -> str:
    """``""`` for the embedded server, or NATS addresses joined by commas."""
    if value == "":
        return ""
    for part in value.split(",") if isinstance(value, str) else [value]:
        scheme, host, _ = _address(part.strip() if isinstance(part, str) else part)
        if scheme not in _NATS_SCHEMES or not host:
            got = "an address with a user name" if isinstance(value, str) and has_user(value) else shown(part)
            raise InvalidInput(f'{what} must be like "nats://host:4222" (or "" for the embedded server), got {got}')
    return str(value)


def replicas(value: object, what: str) -> int:
    """A number of copies that has a majority."""
    if isinstance(value, bool) or value not in REPLICAS:
        raise InvalidInput(f"{what} must be 1, 3 or 5, got {shown(value)}")
    return int(value)


def _address(value: object) -> tuple[str, str, bool]:
    """Scheme, host and whether there is a user name; the first two are empty for what is no address."""
    if not isinstance(value, str) or re.search(r"\s", value):
        return "", "", False
    try:
        parts = urlsplit(value)
        port_is_right = parts.port != 0
    except ValueError:
        return "", "", "@" in value
    return parts.scheme if port_is_right else "", parts.hostname or "", "@" in parts.netloc


def variable_name(value: object, what: str) -> str:
    """The name of an environment variable. What may be a key is not repeated in the message."""
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise InvalidInput(
            f'{what} must name an environment variable such as "OPENAI_API_KEY" (capitals, digits, _);'
            " the key itself must not stand in this file"
        )
    return value


def function_name(value: object, what: str) -> str:
    """``module:name`` of a Python function."""
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise InvalidInput(f'{what} must be like "package.module:function", got {shown(value)}')
    return value


def fsync(value: object, what: str) -> str:
    """``always``, or an interval in a form that the NATS server reads as well."""
    if value == "always":
        return "always"
    try:
        duration_ns(value, what)
    except InvalidInput:
        in_go = False
    else:
        in_go = bool(_GO_UNIT.fullmatch(str(value)))
    if not in_go:
        raise InvalidInput(f'{what} must be "always" or an interval such as "100ms", got {shown(value)}')
    return str(value)


def policy(value: object, what: str) -> str:
    """A policy of Callboard's own, or one that an installed package offers."""
    return _policy(value, what, POLICIES)


def _policy(value: object, what: str, own: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in own:
        return value
    from importlib.metadata import entry_points  # noqa: PLC0415  reads every installed package

    offered = {entry.name for entry in entry_points(group=POLICY_ENTRY_POINTS)}
    return str(one_of((*own, *sorted(offered - {*POLICIES})))(value, what))


def fallback(value: object, what: str) -> str:
    """A policy that asks nobody and verifies nothing."""
    return _policy(value, what, tuple(name for name in POLICIES if name not in ("agent", "cascade")))


def share(value: object, what: str) -> int:
    """A score over 0 and up to 1, in parts per million."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= 1:
        raise InvalidInput(f"{what} must be over 0 and at most 1, such as 0.7, got {shown(value)}")
    return round(value * PERFECT)


def amount(value: object, what: str) -> float:
    """How much of a resource: a number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value < MOST:
        raise InvalidInput(f"{what} must be a number from 0, such as 0.5, got {shown(value)}")
    return float(value)


def amounts(value: object, what: str) -> dict[str, float]:
    """How much of each resource, by its name."""
    return {name: amount(each, f"{what}.{name}") for name, each in table(value, what).items()}


def price_steps(value: object, what: str) -> tuple[Step, ...]:
    """A list of dearer rates for longer prompts, by ascending ``over``."""
    example = f"{what} must be a list such as [{{ over = 200_000, input = 6.0, output = 22.5 }}]"
    if not isinstance(value, list):
        raise InvalidInput(f"{example}, got {shown(value)}")
    steps: list[Step] = []
    for number, step in enumerate(value, 1):
        if not isinstance(step, dict) or not {"over", "input", "output"} <= step.keys() <= {*_STEP}:
            raise InvalidInput(f"{example}; number {number} has other keys")
        read: dict[str, Any] = {key: _STEP[key](each, f"{what}, number {number}: {key}") for key, each in step.items()}
        steps.append(Step(**read))
        if number > 1 and steps[-2].over >= steps[-1].over:
            raise InvalidInput(f"{what} must rise: number {number} begins at {steps[-1].over}, not over the one before")
    return tuple(steps)


_STEP: Mapping[str, Reader] = {"over": whole(1), "input": usd_micros, "output": usd_micros, "cached": usd_micros}

SETTINGS: Mapping[str, Reader] = {
    "data": text,
    "nats": table,
    "cells": tables,
    "router": table,
    "telemetry": table,
    "audit": table,
    "archive": table,
    "privacy": table,
    "http": table,
    "ray": table,
    "backends": table,
    "checks": table,
}
NATS: Mapping[str, Reader] = {
    "url": nats_url,
    "fsync": fsync,
    "max_bytes": size_bytes,
    "port": whole(0, 65535),
    "credentials": path,
    "ca": path,
    "replicas": replicas,
}
ROUTER: Mapping[str, Reader] = {
    "policy": policy,
    "max_attempts": whole(1),
    "latency_price_usd_per_s": usd_micros,
    "quality_price_usd_per_percent": usd_micros,
    "pace_usd_per_task": usd_micros,
    "cascade": table,
    "agent": table,
    "hedge_percent": whole(0, 100),
    "explore_percent": whole(0, 100),
}
CASCADE: Mapping[str, Reader] = {"check": text, "escalations": whole(0, 20)}
AGENT: Mapping[str, Reader] = {"backend": text, "timeout": duration_ns, "fallback": fallback}
CHECK: Mapping[str, Reader] = {"function": function_name, "accept": share}
JUDGE: Mapping[str, Reader] = {"backend": text, "accept": share, "timeout": duration_ns}
TELEMETRY: Mapping[str, Reader] = {"traces": one_of(get_args(Traces)), "log_level": one_of(get_args(LogLevel))}
AUDIT: Mapping[str, Reader] = {"key": text}
ARCHIVE: Mapping[str, Reader] = {
    "folder": text,
    "on": yes_or_no,
    "messages": whole(1000, 10_000_000),
    "purge": yes_or_no,
    "keep": keep,
}
PRIVACY: Mapping[str, Reader] = {"master_key_env": variable_name, "master_key_file": text}
HTTP: Mapping[str, Reader] = {
    "listen": listen,
    "tokens": text,
    "cert": text,
    "key": text,
    "open_metrics": yes_or_no,
    "drain": duration_ns,
}
RAY: Mapping[str, Reader] = {
    "address": text,
    "name": text,
    "routers": whole(1),
    "hosts": whole(1),
    "agents": text,
    "drain": duration_ns,
    "secrets": text,
}
PLACEMENT: Mapping[str, Reader] = {"num_cpus": amount, "num_gpus": amount, "resources": amounts}
BACKEND: Mapping[str, Reader] = {
    "provider": one_of(get_args(ProviderName)),
    "model": text,
    "url": http_url,
    "api": one_of(get_args(Api)),
    "api_key_env": variable_name,
    "function": function_name,
    "capabilities": capabilities,
    "context": whole(1),
    "data_policy": labels,
    "tier": one_of(get_args(Tier)),
    "price": table,
    "concurrency": whole(1),
    "rpm": whole(1),
    "tpm": whole(1),
    "replicas": whole(1, MOST_REPLICAS),
    "workers": one_of(get_args(Workers)),
    "scaling": table,
    "first_token_timeout": duration_ns,
    "timeout": duration_ns,
    "ray": table,
}
SCALING: Mapping[str, Reader] = {
    "min": whole(0),
    "max": whole(1, MOST_REPLICAS),
    "target_wait": duration_ns,
    "target_first_token": duration_ns,
    "cool_up": duration_ns,
    "cool_down": duration_ns,
    "idle": duration_ns,
}
PRICE: Mapping[str, Reader] = {"input": usd_micros, "output": usd_micros, "cached": usd_micros, "steps": price_steps}

ATTRIBUTES: Mapping[str, str] = {
    "latency_price_usd_per_s": "latency_price_micros_per_s",
    "quality_price_usd_per_percent": "quality_price_micros_per_percent",
    "pace_usd_per_task": "pace_micros_per_task",
    "first_token_timeout": "first_token_timeout_ns",
    "timeout": "timeout_ns",
    "keep": "keep_ns",
    "drain": "drain_ns",
}
"""Keys whose value is held in another unit: the struct's attribute names that unit."""
