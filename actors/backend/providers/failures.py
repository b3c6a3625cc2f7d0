"""What a server's refusal means: HTTP status, error object and waiting headers, told as FailureKind. No I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from callboard.actors.backend.providers.provider import FailureKind, ProviderError

WAIT_LIMIT_NS: Final = 24 * 3_600 * 1_000_000_000
"""A server that asks to wait longer than a day is asked again after a day."""

_SHOWN = 200
_STATUS = {
    401: FailureKind.UNAUTHORIZED,
    402: FailureKind.UNAUTHORIZED,  # no money on the account
    403: FailureKind.UNAUTHORIZED,
    408: FailureKind.UNAVAILABLE,
    409: FailureKind.UNAVAILABLE,
    425: FailureKind.UNAVAILABLE,
    429: FailureKind.RATE_LIMITED,
}
# words of error types and codes (OpenAI, Anthropic, vLLM, llama.cpp), the first found counts
_WORDS = (
    ("insufficient_quota", FailureKind.UNAUTHORIZED),
    ("billing", FailureKind.UNAUTHORIZED),
    ("authentication", FailureKind.UNAUTHORIZED),
    ("permission", FailureKind.UNAUTHORIZED),
    ("api_key", FailureKind.UNAUTHORIZED),
    ("rate_limit", FailureKind.RATE_LIMITED),
    ("quota", FailureKind.RATE_LIMITED),
    ("invalid", FailureKind.INVALID),
    ("not_found", FailureKind.INVALID),
    ("too_large", FailureKind.INVALID),
    ("exceed", FailureKind.INVALID),
    ("badrequest", FailureKind.INVALID),
)
_RESETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
_NUMBER = re.compile(r"\d{1,15}(\.\d*)?")
_SPAN = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d+)?)s)?(?:(\d{1,9})ms)?")


def of_status(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The failure that an HTTP answer other than 200 tells; its message is a predicate: ``answered 429 …: …``.

    Args:
        status: HTTP status.
        reason: its words.
        headers: by lower-case name.
        body: the first part of it is enough.
    """
    error = _error_object(body)
    kind = _status_kind(status)
    if status == 429 and _word_kind(error) is FailureKind.UNAUTHORIZED:
        kind = FailureKind.UNAUTHORIZED  # the quota is used up: waiting does not help
    said = f"answered {status} {reason}".strip()
    if 300 <= status < 400 and "location" in headers:
        text = f"it is at {headers['location']}; give that as the url"
    else:
        text = message_of(error) if error is not None else _shown(body.decode(errors="replace"))
    return ProviderError(kind, f"{said}: {text}" if text else said, retry_after_ns=retry_after_ns(headers, kind))


def of_error(error: Any) -> ProviderError:
    """The failure that an error object within a stream tells: a dict of ``message``, ``type``, ``code``, or a text."""
    code = error.get("code") if isinstance(error, dict) else None
    kind = _word_kind(error)
    if isinstance(code, int) and 400 <= code < 600:
        kind = kind or _status_kind(code)
    # a server that breaks down in mid-answer without a known word is likely to be in trouble itself
    return ProviderError(kind or FailureKind.UNAVAILABLE, f"broke off with an error: {message_of(error)}")


def message_of(error: Any) -> str:
    """The words of an error object, at most 200 characters."""
    if not isinstance(error, dict):
        return _shown(str(error))
    words = error.get("message") or error.get("detail") or error.get("type") or error
    return _shown(str(words))


def retry_after_ns(headers: Mapping[str, str], kind: FailureKind) -> int | None:
    """Nanoseconds the server asks to wait: ``retry-after-ms``, ``retry-after``, else when a used-up limit resets."""
    if _NUMBER.fullmatch(millis := headers.get("retry-after-ms", "")):
        return _capped(float(millis) / 1_000)
    if wait := headers.get("retry-after", "").strip():
        seconds = float(wait) if _NUMBER.fullmatch(wait) else _seconds_until(wait, headers)
        if seconds is not None:
            return _capped(seconds)
    if kind is not FailureKind.RATE_LIMITED:
        return None
    waits = [
        seconds
        for remaining, reset in _RESETS
        if headers.get(remaining) == "0" and (seconds := _reset_seconds(headers.get(reset, ""), headers)) is not None
    ]
    return _capped(max(waits)) if waits else None


def _status_kind(status: int) -> FailureKind:
    if status >= 500:
        return FailureKind.UNAVAILABLE
    return _STATUS.get(status) or (FailureKind.INVALID if status >= 300 else FailureKind.MALFORMED)


def _error_object(body: bytes) -> Any:
    """The error in a JSON body: ``{"error": …}`` as of OpenAI and Anthropic, or the object itself as of vLLM."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(found, list) and found:  # Gemini's compatible address wraps it once more
        found = found[0]
    return found.get("error", found) if isinstance(found, dict) else None


def _word_kind(error: Any) -> FailureKind | None:
    if not isinstance(error, dict):
        return None
    words = f"{error.get('type', '')} {error.get('code', '')}".lower()
    return next((kind for word, kind in _WORDS if word in words), None)


def _seconds_until(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds from the server's own clock (its Date, else ours) to an HTTP date or an RFC 3339 time."""
    then = _moment(text)
    now = _moment(headers.get("date", "")) or datetime.now(UTC)
    return (then - now).total_seconds() if then else None


def _moment(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _reset_seconds(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds of ``6m0s``, ``120ms`` (OpenAI) or until an RFC 3339 time (Anthropic)."""
    if text and (span := _SPAN.fullmatch(text)):
        days, hours, minutes, seconds, millis = (float(part or 0) for part in span.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + seconds + millis / 1_000
    return _seconds_until(text, headers)


def _capped(seconds: float) -> int:
    return min(max(round(seconds * 1e9), 0), WAIT_LIMIT_NS)


def _shown(text: str) -> str:
    """One line of at most 200 characters."""
    line = " ".join(text[: 4 * _SHOWN].split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
