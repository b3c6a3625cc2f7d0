"""`callboard audit`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.actors.auditor import Examine, Proof, Until
    from callboard.projections.audit import Head, Options, Report

_FILE = click.Path(path_type=Path)
_NAMES = ("log", "checkpoints", "chains", "legality", "ledger", "budgets", "rules", "approvals")


@click.command()
@click.option(
    "--key", "keys", metavar="PUB", multiple=True, type=_FILE, help="A key that you trust.  [default: audit.pub]"
)
@click.option(
    "--since",
    "--head",
    "since",
    metavar="FILE",
    type=_FILE,
    help="An earlier report (--json): is its log still in this one?",
)
@click.option("--until", metavar="SEQ|TIME", help="Look at no more than this message, or what was stored by then.")
@click.option("--only", type=click.Choice(_NAMES), multiple=True, help="Some of the checks; again for more.")
@click.option("--archive", metavar="FOLDER", type=_FILE, help="The archive.  [default: as configured]")
@click.option("--proof", metavar="SEQ", type=int, help="Print the proof that a message is in the log as it is signed.")
@where
@as_json
def audit(
    keys: tuple[Path, ...],
    since: Path | None,
    until: str | None,
    only: tuple[str, ...],
    archive: Path | None,
    proof: int | None,
    where: Where,
    as_json: bool,
) -> None:
    """Check that the log was not altered, and that everything in it was done by the rules; exit code 1 if not.

    The whole log is read, archive and stream. Who holds the signing key can forge, and who can cut off the log's end
    can cut off its checkpoints: so keep the report (--json) where they can't reach it, and give it to the next audit by
    --since. That proves that today's log only continues the one of then.

    --json prints {result, checked {…}, counts {kind: number}, findings [{kind, severity, check, seq, told, mend,
    subject, entity}], head {size, root, checkpoint}, checks}; with --proof {seq, subject, time_ns, leaf, size, root,
    proof}.
    """
    from callboard.deploy.cli.audit_text import told
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import run
    from callboard.projections.audit import ALL, Check, Options

    settings = where.settings()
    options = Options(
        trusted(keys, settings.audit_key),
        (_head(since),) if since else (),
        frozenset(map(Check, only)) if only else ALL,
    )
    examine = archive_at(archive or settings.archive_folder)
    if proof is not None:
        print_json(run(_proof(where, proof, examine)))
        return
    report = run(_audit(where, options, examine, _until(until)))
    if as_json:
        print_json(report)
    else:
        click.echo(told(report, colour=click.style))
    if report.result != "clean":
        raise click.exceptions.Exit(1)


async def _audit(where: Where, options: "Options", archive: "Examine | None", until: "Until") -> "Report":
    from callboard.actors.auditor import audit
    from callboard.deploy.cli.printing import working
    from callboard.deploy.connect import hot_bus
    from callboard.deploy.garbage import collect_seldom

    collect_seldom()
    url, data = where.address()
    async with hot_bus(url, data=data, nats=where.settings().nats) as bus:
        with working("Reading the log"):
            return await audit(bus, options, archive=archive, until=until)


async def _proof(where: Where, seq: int, archive: "Examine | None") -> "Proof":
    from callboard.actors.auditor import prove
    from callboard.deploy.connect import hot_bus
    from callboard.events.checkpoint import decode_checkpoint
    from callboard.events.errors import InvalidInput
    from callboard.projections.audit import Head

    url, data = where.address()
    async with hot_bus(url, data=data, nats=where.settings().nats) as bus:
        newest = await bus.checkpoints.last()
        if newest is None:
            raise InvalidInput("nothing of this log is signed yet: a node signs every five minutes, and when it stops")
        signed = decode_checkpoint(newest.data)
        return await prove(bus, seq, Head(signed.size, signed.root), archive=archive)


def trusted(given: tuple[Path, ...], configured: Path) -> frozenset[str]:
    """The keys given, or else the one of this node, if it has one."""
    from callboard.deploy.audit_key import public_file, public_key

    beside = public_file(configured)
    files = given or ((beside,) if beside.exists() else ())
    return frozenset(public_key(file) for file in files)


def _head(file: Path) -> "Head":
    """The head in a report, or one that was kept by itself. Raises InvalidInput."""
    import msgspec

    from callboard.events.errors import InvalidInput
    from callboard.projections.audit import Head

    try:
        found = msgspec.json.decode(file.read_bytes())
        head = msgspec.convert(found.get("head", found) if isinstance(found, dict) else found, Head)
    except OSError as error:
        raise InvalidInput(f"{file}: can't be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"{file}: no report of `callboard audit --json`, and no head of one: {error}") from error
    if not head.root:
        raise InvalidInput(f"{file}: that audit found alterations, so it has no head to compare with")
    return head


def archive_at(folder: Path) -> "Examine | None":
    """How an audit reads the archive in ``folder``; None if there is none."""
    from functools import partial

    if not folder.is_dir():
        return None
    from callboard.bus.archive.examined import examined

    return partial(examined, folder)


def _until(given: str | None) -> "Until":
    """A sequence, or a time in ISO 8601 (UTC unless it says otherwise)."""
    from datetime import UTC, datetime, timedelta

    from callboard.actors.auditor import Until
    from callboard.events.errors import InvalidInput

    if given is None or given.isdigit():
        return Until(None if given is None else int(given))
    try:
        time = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidInput(f"--until {given!r}: give a sequence, or a time such as 2026-11-29T12:00") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    micros = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return Until(None, micros * 1000)
