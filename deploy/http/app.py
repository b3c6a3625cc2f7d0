"""The routes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from callboard.deploy.http.edge import ROUTE, Edge, Told
from callboard.deploy.http.health import Health
from callboard.deploy.http.problem import Refused
from callboard.deploy.http.stream import StreamDesk
from callboard.deploy.http.tasks import TaskDesk

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def application(tasks: TaskDesk, streams: StreamDesk, health: Health, metrics: Handler, told: Told) -> ASGIApp:
    """The whole of it, as ASGI; ``told`` is told of each answer."""
    one = "/v1/tasks/{task}"
    routes = (
        _route("/v1/tasks", {"POST": tasks.submit}),
        _route(one, {"GET": tasks.show, "DELETE": tasks.cancel}),
        _route(f"{one}/cancel", {"POST": tasks.cancel}),
        _route(f"{one}/events", {"GET": streams.events}),
        _route("/livez", {"GET": health.livez}),
        _route("/readyz", {"GET": health.readyz}),
        _route("/metrics", {"GET": metrics}),
    )
    return Edge(Router(routes, redirect_slashes=False, default=_nowhere), told)


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    """What is at ``path``, by method; any other is refused with those that there are."""

    async def serve(request: Request) -> Response:
        request.scope[ROUTE] = path
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else [])])
            raise Refused(405, f"{request.method[:20]} means nothing here; use {allowed}", {"allow": allowed})
        return await handler(request)

    route = Route(path, serve)
    route.methods = None  # any: those that mean nothing are refused above, in words
    return route


async def _nowhere(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise Refused(404, f"nothing is at {scope['path'][:80]!r}; see /v1/tasks, /livez, /readyz and /metrics")
