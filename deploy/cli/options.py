"""Options that commands share, and the types of their values."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from callboard.deploy.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Where(NamedTuple):
    """Which board is meant, as the command line says; ``cell`` is one of several, by its shards or one of them."""

    data: str | None = None
    url: str | None = None
    config: Path | None = None
    cell: str | None = None

    def settings(self) -> "Settings":
        """The settings file, with what the command line and the environment say instead.

        With a ``cell`` they say where that is. Raises InvalidSettings, InvalidInput for a cell that there is not.
        """
        from msgspec.structs import replace

        from callboard.deploy.connect import URL_VARIABLE
        from callboard.deploy.settings_file import load

        settings = load(self.config)
        if self.cell is not None:
            from callboard.deploy.cli.cells import settings_at

            return settings_at(settings, self.cell)
        if url := self.url or os.environ.get(URL_VARIABLE):
            settings = replace(settings, nats=replace(settings.nats, url=url))
        return replace(settings, data=self.data) if self.data else settings

    def address(self) -> tuple[str | None, str]:
        """Server address, if one is meant, and data folder: what was asked for counts before what is configured."""
        settings = self.settings()
        if self.data and not self.url:
            return None, self.data
        if self.cell is not None:
            return settings.nats.url or None, settings.data
        return settings.nats.url or None, settings.data

    def archive(self) -> Path | None:
        """The folder of the archive where the settings say that there is one; by default it is in the data folder."""
        settings = self.settings()
        return settings.archive_folder if settings.archive.on or settings.archive.folder else None


def where(command: F) -> F:
    """Give a command ``where``, from --data, --url and --config."""

    @click.option("--cell", metavar="SHARDS", help="Which of [[cells]], by its shards (0-31) or one of them.")
    @click.option("--data", metavar="FOLDER", help="Data folder of a node on this machine.  [default: .callboard]")
    @click.option("--url", metavar="URL", help="NATS server, as nats://host:4222.  [env: CALLBOARD_NATS_URL]")
    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Settings file.  [default: callboard.toml, if there is one]",
    )
    @wraps(command)
    def located(
        *args: Any, cell: str | None, data: str | None, url: str | None, config: Path | None, **kwargs: Any
    ) -> Any:
        if cell is not None and (data or url):
            raise click.UsageError("--cell is one of [[cells]]: leave out --data and --url")
        return command(*args, where=Where(data, url, config, cell), **kwargs)

    return located  # type: ignore[return-value]


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def usd(_ctx: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """An amount in US dollars, such as ``0.05`` or ``5usd``, exactly, as whole micro-dollars."""
    from decimal import Decimal, InvalidOperation

    from callboard.deploy.units import usd_micros
    from callboard.events.errors import InvalidInput

    try:
        if value is None:
            return None
        return usd_micros(Decimal(value.lower().removesuffix("usd").removeprefix("$")), "the amount")
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from None
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not an amount in USD such as 0.05") from None


def seconds(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """A duration such as ``30s``, in seconds."""
    from callboard.deploy.units import duration_ns
    from callboard.events.errors import InvalidInput

    try:
        return None if value is None else duration_ns(value, "it") / 1e9
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from None
