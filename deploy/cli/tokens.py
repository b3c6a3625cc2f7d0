"""`callboard tokens`."""

from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, seconds, where
from callboard.deploy.cli.subcommands import Subcommands
from callboard.deploy.http.tokens import SCOPES

if TYPE_CHECKING:
    from callboard.deploy.http.tokens import Token, TokensFile


@click.group(cls=Subcommands, default="list")
def tokens() -> None:
    """Make, list and revoke bearer tokens for HTTP. Servers that run notice at once."""


@tokens.command("create")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="Several times.")
@click.option("--expires", metavar="TIME", callback=seconds, help="How long it is valid, such as 30d.  [default: ever]")
@where
@as_json
def tokens_create(name: str, scopes: tuple[Any, ...], expires: float | None, where: Where, as_json: bool) -> None:
    """Make the token NAME and print it. It is shown this once: only its hash is kept.

    submit takes tasks in, read shows them and their answers, cancel ends them, metrics is for Prometheus; admin is all
    of these.

    --json prints {name, token, scopes, created, expires}.
    """
    from datetime import timedelta

    from callboard.deploy.cli.printing import print_json, warn
    from callboard.deploy.http.tokens import now

    file, made = _file(where), now()
    until = made + timedelta(seconds=expires) if expires else None
    secret, token = file.create(name, scopes, until, made)
    if as_json:
        print_json({"name": name, "token": secret, **_document(token)})
    else:
        click.echo(secret)
        warn(f"this token is shown once; its hash is in {file.path}")


@tokens.command("list")
@where
@as_json
def tokens_list(where: Where, as_json: bool) -> None:
    """List all tokens: what they allow, and until when.

    --json prints a list of {name, scopes, created, expires}.
    """
    from callboard.deploy.cli.printing import clock, print_json, print_table
    from callboard.deploy.http.tokens import now

    file = _file(where)
    found = file.all()
    if as_json:
        print_json([{"name": token.name, **_document(token)} for token in found])
    elif found:
        rows = (
            (
                token.name,
                ", ".join(token.scopes),
                clock(token.created),
                ("expired " if token.expired(now()) else "") + clock(token.expires) if token.expires else "never",
            )
            for token in found
        )
        print_table(("token", "scopes", "created", "expires"), rows)
    else:
        click.echo(f"no tokens in {file.path}: callboard tokens create NAME --scope submit makes one")


@tokens.command("revoke")
@click.argument("name")
@where
@as_json
def tokens_revoke(name: str, where: Where, as_json: bool) -> None:
    """Take the token NAME away: whoever holds it is refused from now on.

    --json prints {name}.
    """
    from callboard.deploy.cli.printing import print_json

    _file(where).revoke(name)
    if as_json:
        print_json({"name": name})
    else:
        click.echo(f"token {name} is revoked")


def _file(where: Where) -> "TokensFile":
    from callboard.deploy.http.tokens import TokensFile
    from callboard.events.errors import InvalidInput

    path = where.settings().http_tokens
    if path is None:
        raise InvalidInput('the settings say http.tokens = "none": name a file there first')
    return TokensFile(path)


def _document(token: "Token") -> dict[str, Any]:
    return {"scopes": token.scopes, "created": token.created, "expires": token.expires}
