"""`callboard keys`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import as_json

if TYPE_CHECKING:
    from callboard.deploy.keys.accounts import User
    from callboard.deploy.keys.folder import Keys

_FOLDER = click.Path(path_type=Path, file_okay=False)
_RELOAD = "on each server, when it has the new accounts.conf: nats-server --signal reload"

_folder = click.option(
    "--folder", type=_FOLDER, default=Path("keys"), help="The folder that `callboard keys init` made.  [default: keys]"
)
_tenant = click.option("--tenant", metavar="NAME", help="Whose key.  [default: the only tenant's]")


@click.group()
def keys() -> None:
    """Make the keys of roles, the certificates of NATS servers, and the servers' configuration.

    A tenant has an account of its own on the servers, and each role a key: operator, publisher, router, agents,
    auditor, and backend-NAME for each backend. What each may do is told in deploy/SECURITY.md. No secret is printed.
    """


@keys.command()
@click.argument("folder", type=_FOLDER, default=Path("keys"))
@click.option("--tenant", "tenants", metavar="NAME", multiple=True, required=True, help="A tenant; again for more.")
@click.option("--backend", "backends", metavar="NAME", multiple=True, help="A backend of each tenant; again for more.")
@click.option(
    "--host", "hosts", metavar="HOST", multiple=True, help="Name or address of a server.  [default: localhost]"
)
@click.option("--at", metavar="PATH", help="Where FOLDER/server will lie on the servers.  [default: where it is]")
@click.option(
    "--store", metavar="PATH", default="/var/lib/nats", show_default=True, help="Where the servers keep data."
)
def init(
    folder: Path,
    tenants: tuple[str, ...],
    backends: tuple[str, ...],
    hosts: tuple[str, ...],
    at: str | None,
    store: str,
) -> None:
    """Make a folder of keys, with an authority and all that NATS servers need, in FOLDER/server."""
    made = _keys(folder)
    made.init(tuple(dict.fromkeys(tenants)), tuple(dict.fromkeys(backends)), hosts or ("localhost",), at, store)
    for user in made.record().users:
        click.echo(f"{made.file(user)}: {user.stem} of {user.tenant}")
    click.echo(f"{folder / 'ca.key'}: the authority's key: keep it where no server is")
    click.echo(f"next: bring {folder / 'server'} to each server, and start nats-server -c nats-server.conf there")
    click.echo("      (or -c cluster.conf --name NAME on each of three), and set [nats] url, credentials and ca")


@keys.command("add-tenant")
@click.argument("name")
@_folder
def add_tenant(name: str, folder: Path) -> None:
    """Make the keys of a new tenant."""
    _made(made := _keys(folder), made.add_tenant(name))


@keys.command("add-backend")
@click.argument("name")
@_tenant
@_folder
def add_backend(name: str, tenant: str | None, folder: Path) -> None:
    """Make the key of a new backend."""
    made = _keys(folder)
    _made(made, made.add_backend(made.tenant(tenant), name))


@keys.command("list")
@_folder
@as_json
def list_(folder: Path, as_json: bool) -> None:
    """List the keys that there are, and until when the certificates are good.

    --json prints {keys [{tenant, role, backend, public, inbox, made, replaced}], certificates {name: time}}.
    """
    from callboard.bus.credentials import inbox
    from callboard.deploy.cli.printing import print_json, print_table, whole
    from callboard.deploy.keys.certificates import ends

    made = _keys(folder)
    users = made.record().users
    files = {"authority": folder / "ca.pem", "server": folder / "server" / "server.pem"}
    until = {name: ends(file.read_bytes()) for name, file in files.items() if file.exists()}
    if as_json:
        told = [{**whole(user), "inbox": inbox(user.public)} for user in users]
        print_json({"keys": told, "certificates": until})
        return
    rows = [(each.tenant, each.stem, each.public, each.made, "replaced" if each.replaced else "") for each in users]
    print_table(("tenant", "role", "public key", "made", ""), rows)
    for name, end in until.items():
        click.echo(f"the certificate of the {name} is good until {end:%Y-%m-%d}")


@keys.command()
@click.argument("role")
@click.option("--at-once", is_flag=True, help="The old key is good no more: for one that has leaked.")
@_tenant
@_folder
def rotate(role: str, at_once: bool, tenant: str | None, folder: Path) -> None:
    """Make a new key of ROLE, such as router or backend-NAME, or with `server` a new certificate of the servers.

    The old key stays good until `callboard keys revoke ROLE`, so that processes can be given the new one in turn.
    """
    made = _keys(folder)
    if role == "server":
        made.certify()
        click.echo(f"{folder / 'server' / 'server.pem'}: a new certificate")
        click.echo("next: bring it and server.key to each server, and there: nats-server --signal reload")
        return
    whose = made.tenant(tenant)
    user = made.rotate(whose, role, at_once=at_once)
    click.echo(f"{made.file(user)}: a new key of {role} of {whose}")
    click.echo(f"next: {_RELOAD}")
    if at_once:
        click.echo("      that ends the connections of the old key; give the new one to who needs it")
    else:
        click.echo(f"      then give it to who needs it, and end the old one: callboard keys revoke {role}")


@keys.command()
@click.argument("role")
@_tenant
@_folder
def revoke(role: str, tenant: str | None, folder: Path) -> None:
    """Let the replaced keys of ROLE be good no more."""
    made = _keys(folder)
    for user in made.revoke(made.tenant(tenant), role):
        click.echo(f"{user.public}: no longer a key of {user.stem} of {user.tenant}")
    click.echo(f"next: {_RELOAD}; that ends their connections")


def _keys(folder: Path) -> "Keys":
    from datetime import UTC, datetime

    from callboard.deploy.keys.folder import Keys

    return Keys(folder, datetime.now(UTC))


def _made(made: "Keys", users: "list[User]") -> Any:
    for user in users:
        click.echo(f"{made.file(user)}: {user.stem} of {user.tenant}")
    click.echo(f"next: {_RELOAD}")
