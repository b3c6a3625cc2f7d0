import pytest

from callboard.actors.backend.providers import failures
from callboard.actors.backend.providers.provider import FailureKind

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, FailureKind.MALFORMED),
        (301, FailureKind.INVALID),
        (400, FailureKind.INVALID),
        (401, FailureKind.UNAUTHORIZED),
        (402, FailureKind.UNAUTHORIZED),
        (403, FailureKind.UNAUTHORIZED),
        (404, FailureKind.INVALID),
        (408, FailureKind.UNAVAILABLE),
        (413, FailureKind.INVALID),
        (422, FailureKind.INVALID),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.UNAVAILABLE),
        (503, FailureKind.UNAVAILABLE),
        (529, FailureKind.UNAVAILABLE),
    ],
)
def test_a_status_tells_why(status, kind):
    """Every status has its kind of failure."""
    assert failures.of_status(status, "", {}, b"").kind is kind


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": {"message": "no such model", "type": "not_found"}}', "no such model"),
        (b'{"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}', "too long"),
        (b'{"error": "model not loaded"}', "model not loaded"),
        (b'{"object": "error", "message": "bad temperature", "code": 400}', "bad temperature"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'[{"error": {"message": "quota", "code": 404}}]', "quota"),
        (b"<html>\n  <b>nginx</b></html>", "<html> <b>nginx</b></html>"),
        (b"\xff\xfe", "��"),
    ],
)
def test_the_servers_own_words_are_shown(body, shown):
    """The message is taken out of any error body, and is one line."""
    assert str(failures.of_status(404, "Not Found", {}, body)) == f"answered 404 Not Found: {shown}"


def test_long_bodies_are_cut():
    """No more than 200 characters of a body are shown."""
    assert len(str(failures.of_status(500, "", {}, b"x" * 9999))) == len("answered 500: ") + 200


def test_a_redirect_says_where_to():
    """A redirect is not followed; the message holds the address to configure."""
    error = failures.of_status(308, "Permanent Redirect", {"location": "https://new/v1"}, b"")
    assert "https://new/v1; give that as the url" in str(error)


def test_a_used_up_quota_is_no_rate_limit():
    """A 429 that no waiting helps is unauthorized."""
    body = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    assert failures.of_status(429, "", {}, body).kind is FailureKind.UNAUTHORIZED


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "x"}, FailureKind.UNAVAILABLE),
        ({"type": "rate_limit_error", "message": "x"}, FailureKind.RATE_LIMITED),
        ({"code": "rate_limit_exceeded"}, FailureKind.RATE_LIMITED),
        ({"code": 429, "message": "x"}, FailureKind.RATE_LIMITED),
        ({"type": "server_error"}, FailureKind.UNAVAILABLE),
        ({"code": 502}, FailureKind.UNAVAILABLE),
        ({"type": "invalid_request_error"}, FailureKind.INVALID),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, FailureKind.UNAUTHORIZED),
        ({"code": 400, "type": "exceed_context_size_error"}, FailureKind.INVALID),
        ({"type": "authentication_error"}, FailureKind.UNAUTHORIZED),
        ("out of memory", FailureKind.UNAVAILABLE),
        (None, FailureKind.UNAVAILABLE),
        ({}, FailureKind.UNAVAILABLE),
    ],
)
def test_an_error_within_a_stream_tells_why(error, kind):
    """Types and codes of several servers are understood; an unknown error is the server's trouble."""
    assert failures.of_error(error).kind is kind


DATE = {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "2"}, 2 * SECOND),
        ({"retry-after": "0.5"}, SECOND // 2),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", **DATE}, 30 * SECOND),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", **DATE}, 0),
        ({"retry-after": "9", "retry-after-ms": "250"}, SECOND // 4),
        ({"retry-after": "999999999999"}, 24 * 3600 * SECOND),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360 * SECOND),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, SECOND * 12 // 100),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1s"}, None),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2015-10-21T07:28:07Z",
                **DATE,
            },
            7 * SECOND,
        ),
    ],
)
def test_the_wait_is_read_from_the_headers(headers, wait):
    """Seconds, milliseconds, dates and reset times are understood; nonsense is no wish."""
    assert failures.of_status(429, "", headers, b"").retry_after_ns == wait


def test_limits_count_only_when_they_were_the_reason():
    """A server error does not make a used-up limit a wish to wait, its own Retry-After does."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}
    assert failures.of_status(500, "", headers, b"").retry_after_ns is None
    assert failures.of_status(503, "", headers | {"retry-after": "1"}, b"").retry_after_ns == SECOND
