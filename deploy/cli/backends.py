"""`callboard backends`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.events.backend import Backend, BackendSpec
    from callboard.events.money import Price
    from callboard.projections.load import BackendLoad
    from callboard.projections.quality import Evidence


@click.command()
@where
@as_json
def backends(where: Where, as_json: bool) -> None:
    """List backends: what they are, how many replicas they have, what they have to do and how well they do it.

    Of one that is scaled by its load: how few and how many may be, why it has as many as it has, when that may change.

    --json prints [{backend, spec, price {input, output, cached, steps}, replicas, scaling {held, why, more_from,
    fewer_from}, draining, breaker, until, reason, outstanding, tokens, per_token, per_output, first_token, duration,
    answered, failures, reliability, proven, judged, score}]: outstanding tasks and their predicted tokens, averages in
    ns, answered calls, failures in a row, the share of good calls lately in parts per million, good answers since it
    came (back) into service, how many answers were judged, and their average score in parts per million. Prices are
    micro-dollars per million tokens.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_backends, as_json=as_json), as_json=as_json)


async def _backends(where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import session_at
    from callboard.projections.backends import BACKENDS
    from callboard.projections.learning import LEARNING
    from callboard.projections.load import LOAD, BackendLoad

    async with session_at(where) as session:
        loads = session.projector.state(LOAD).backends
        judged = session.projector.state(LEARNING).quality.by_backend
        known = sorted(session.projector.state(BACKENDS).by_id.values(), key=lambda backend: backend.id)
    rows = [(backend, loads.get(backend.id, BackendLoad()), judged.get(backend.id)) for backend in known]
    if as_json:
        print_json([_document(*row) for row in rows])
    elif rows:
        _print(rows)
    else:
        click.echo("no backends: name some in callboard.toml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY")


def _document(backend: "Backend", load: "BackendLoad", evidence: "Evidence | None") -> dict[str, Any]:
    from callboard.deploy.cli.scaling_text import document

    return {
        "backend": backend.id,
        "spec": backend.spec,
        "price": backend.price,
        "replicas": backend.replicas,
        "scaling": document(backend, load) if backend.spec and backend.spec.scaling else None,
        "draining": backend.draining,
        "breaker": backend.breaker,
        "until": backend.until,
        "reason": backend.reason,
        "outstanding": len(load.outstanding),
        "tokens": load.tokens,
        "per_token": load.per_token,
        "per_output": load.per_output,
        "first_token": load.first_token,
        "duration": load.duration,
        "answered": load.answered,
        "failures": load.failures,
        "reliability": load.reliability,
        "proven": load.proven,
        "judged": evidence.judged if evidence else 0,
        "score": evidence.mean if evidence else None,
    }


def _print(rows: list[tuple["Backend", "BackendLoad", "Evidence | None"]]) -> None:
    from callboard.deploy.cli.printing import one_line, print_table, took
    from callboard.deploy.cli.scaling_text import line, of_range
    from callboard.events.task import PERFECT

    numbers = ("replicas", "tasks", "tokens", "first token", "tokens/s", "answered", "failed in a row", "score")
    print_table(
        ("backend", "what", "offers", "price in / out", "state", *numbers),
        (
            (
                backend.id,
                what(backend.spec),
                " ".join(backend.spec.capabilities) if backend.spec else "",
                price(backend.price),
                one_line(_state(backend, load), 120),
                of_range(backend),
                str(len(load.outstanding)),
                str(load.tokens),
                took(load.first_token),
                f"{1e9 / load.per_output:.0f}" if load.per_output else "",
                str(load.answered),
                str(load.failures or ""),
                f"{evidence.mean / PERFECT:.0%} of {evidence.judged}" if evidence else "",
            )
            for backend, load, evidence in rows
        ),
        right=numbers,
    )
    for backend, load, _ in rows:
        if backend.spec and backend.spec.scaling:
            click.echo(line(backend, load))


def what(spec: "BackendSpec | None") -> str:
    """What answers: provider and model; a function is never shown as a model."""
    if spec is None:
        return ""
    return f"callable {spec.model} (not a model)" if spec.provider == "callable" else f"{spec.provider} {spec.model}"


def price(price: "Price") -> str:
    """Both prices per million tokens, and a + if long prompts cost more."""
    from callboard.deploy.cli.printing import usd

    more = "+" if price.steps else ""
    return f"{usd(price.input)} / {usd(price.output)}{more}" if price.input or price.output else "free"


def _state(backend: "Backend", load: "BackendLoad") -> str:
    from callboard.actors.router.slow_start import window
    from callboard.deploy.cli.printing import clock
    from callboard.events.backend import Breaker

    draining = f"draining: {backend.reason}" if backend.draining else ""
    if backend.breaker is Breaker.OPEN:
        until = f" until {clock(backend.until)}" if backend.until else ""
        return f"breaker open{until}: {backend.reason}" + (", draining" if draining else "")
    if backend.breaker is Breaker.HALF_OPEN:
        return "breaker half open: one call tries it" + (", draining" if draining else "")
    allowed = window(backend, load) if load.suspect else None
    return draining or (f"slow start: {allowed} tasks at a time" if allowed else "ok")
