"""Who is let in: by a bearer token and its scopes or, if none are asked for, whoever is on this machine."""

from ipaddress import ip_address
from typing import Final

from starlette.requests import Request

from callboard.deploy.http.problem import Refused
from callboard.deploy.http.tokens import Scope, TokensFile, TokensUnreadable, now
from callboard.deploy.settings_values import host_and_port

ANYBODY: Final = "anybody"
"""The name of whoever comes without a token, where none is asked for."""


class Doorkeeper:
    """Asks for one of the ``tokens``; None asks for none, and serves only what was sent to this machine by its name."""

    def __init__(self, tokens: TokensFile | None) -> None:
        self._tokens = tokens

    def admit(self, request: Request, scope: Scope) -> str:
        """The name of who asks. Raises Refused."""
        if self._tokens is None:
            if not is_loopback(request.headers.get("host", "")):
                raise Refused(421, "without tokens only this machine is served: use the host name localhost")
            return ANYBODY
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if not secret:
            raise _unknown("no token: send the header Authorization: Bearer cbt_…", "")
        if kind.lower() != "bearer":
            raise _unknown("only bearer tokens are taken: send the header Authorization: Bearer cbt_…", "")
        try:
            token = self._tokens.find(secret.strip())
        except TokensUnreadable:
            raise Refused(503, "tokens can't be read: whoever runs this server finds the reason in its log") from None
        if token is None:
            raise _unknown("the token is not known, or was revoked", ', error="invalid_token"')
        if token.expired(now()):
            raise _unknown(f"token {token.name} has expired", ', error="invalid_token"')
        if not token.may(scope):
            challenge = f'Bearer realm="callboard", error="insufficient_scope", scope="{scope}"'
            raise Refused(403, f"token {token.name} has no scope {scope}", {"www-authenticate": challenge})
        return token.name


def _unknown(detail: str, error: str) -> Refused:
    return Refused(401, detail, {"www-authenticate": f'Bearer realm="callboard"{error}'})


def is_loopback(host: str) -> bool:
    """Whether a host, with or without its port, is this machine by its own name."""
    try:
        host, _ = host_and_port(host)
    except ValueError:
        host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
