"""Reading ``callboard.toml``: every mistake in it is told at once, one line each, with the line where it stands."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

from callboard.deploy import settings_cells, settings_values
from callboard.deploy.settings import (
    BUILT_IN_CHECKS,
    Agent,
    Archive,
    Audit,
    Backend,
    Cascade,
    Cell,
    Check,
    Http,
    Nats,
    Placement,
    Privacy,
    ProviderName,
    Ray,
    Router,
    Settings,
    Telemetry,
)
from callboard.deploy.settings_values import Reader, did_you_mean
from callboard.deploy.toml_lines import KeyPath, key_lines
from callboard.deploy.units import shown
from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.money import Price
from callboard.events.scaling import Scaling

DEFAULT_FILE = "callboard.toml"

_TOML_ERROR = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)
_TOML_HINTS = {
    "Invalid value": "; a text needs quotes",
    "Cannot overwrite a value": "; is this key there twice?",
}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TABLES = {"price", "scaling", "ray"}
_SECRETS = {"api_key", "apikey", "key", "token", "api_token", "auth_token", "secret", "password"}
_OTHER_NAMES = {
    "api_base": "url",
    "base_url": "url",
    "endpoint": "url",
    "context_window": "context",
    "max_concurrency": "concurrency",
    "prices": "price",
}
_NEEDED = {"openai": ("provider", "model"), "anthropic": ("provider", "model"), "callable": ("provider", "function")}
_EXAMPLES = {
    "provider": 'provider = "openai"',
    "model": 'model = "llama3.2"',
    "function": 'function = "package.module:function"',
    "shards": 'shards = "0-31"',
    "input": "input = 0.25 (USD per million tokens)",
    "output": "output = 2.00 (USD per million tokens)",
}
_MEANINGLESS = {
    "openai": ("function",),
    "anthropic": ("function", "api"),
    "callable": ("url", "api", "api_key_env"),
}


class InvalidSettings(CallboardError):
    """A settings file that can't be used. The message has one line for each mistake: ``file:line: what``."""


def load(path: Path | None) -> Settings:
    """The settings in ``path``. Without a path: those in ``./callboard.toml``, or the defaults if there is none.

    Raises:
        InvalidSettings: naming every mistake in the file, or why it can't be read.
    """
    file = path or Path(DEFAULT_FILE)
    try:
        stored = file.read_bytes()
    except FileNotFoundError as error:
        if path is None:
            return Settings()
        raise InvalidSettings(f"{file}: there is no such file") from error
    except OSError as error:
        raise InvalidSettings(f"{file}: can't be read: {error.strerror}") from error
    try:
        text = stored.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidSettings(f"{file}:{line}: not valid TOML: the file must be UTF-8 text") from error
    return parse(text, str(file))


def parse(text: str, where: str) -> Settings:
    """The settings in a TOML ``text``; ``where`` is the file's name in messages.

    Raises:
        InvalidSettings: naming every mistake in the text.
    """
    return _Reading(text, where).settings()


def _document(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_ERROR.fullmatch(str(error))
        what = match["what"] if match else str(error)
        line = int(match["line"]) if match and match["line"] else text.rstrip().count("\n") + 1
        column = f" (column {match['column']})" if match and match["column"] else ""
        said = what[:1].lower() + what[1:] + column + _TOML_HINTS.get(what, "")
        raise InvalidSettings(f"{where}:{line}: not valid TOML: {said}") from error
    except (ValueError, InvalidOperation) as error:  # thousands of digits
        raise InvalidSettings(f"{where}: not valid TOML: a number in it is too long") from error


def _name(path: KeyPath) -> str:
    return ".".join(part if _BARE_KEY.fullmatch(part) else shown(part) for part in path)


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {settings_values.ATTRIBUTES.get(key, key): value for key, value in values.items()}


class _Reading:
    """One pass over a file, which gathers its mistakes."""

    def __init__(self, text: str, where: str) -> None:
        self._document = _document(text, where)
        self._lines = key_lines(text)
        self._where = where
        self._mistakes: list[tuple[int, str]] = []

    def settings(self) -> Settings:
        values = self._table((), self._document, settings_values.SETTINGS)
        nats = self._table(("nats",), values.pop("nats", {}), settings_values.NATS)
        cells = self._cells(values.pop("cells", []))
        router = self._router(values.pop("router", {}))
        telemetry = self._table(("telemetry",), values.pop("telemetry", {}), settings_values.TELEMETRY)
        audit = self._table(("audit",), values.pop("audit", {}), settings_values.AUDIT)
        archive = self._table(("archive",), values.pop("archive", {}), settings_values.ARCHIVE)
        if archive.get("purge") and not archive.get("on"):
            self._wrong(("archive", "purge"), "archive.purge is of what was archived: set archive.on as well")
        privacy = self._table(("privacy",), values.pop("privacy", {}), settings_values.PRIVACY)
        http = self._table(("http",), values.pop("http", {}), settings_values.HTTP)
        if ("cert" in http) != ("key" in http):
            there, missing = ("cert", "key") if "cert" in http else ("key", "cert")
            self._wrong(("http", there), f"http.{there} is half of what TLS needs: set http.{missing} as well")
        ray = self._table(("ray",), values.pop("ray", {}), settings_values.RAY)
        if nats.get("url") and "port" in nats:
            self._wrong(("nats", "port"), "nats.port is for the embedded server; remove it, or nats.url")
        if nats.get("replicas", 1) > 1 and not nats.get("url"):
            self._wrong(("nats", "replicas"), "nats.replicas over 1 needs as many servers: set nats.url to theirs")
        checks = {name: self._check(name, table) for name, table in values.pop("checks", {}).items()}
        backends = {name: self._backend(name, table) for name, table in values.pop("backends", {}).items()}
        self._check_names(router, checks, None if nats.get("url") else backends.keys())
        if self._mistakes:
            lines = (f"{self._where}:{line}: {message}" for line, message in sorted(self._mistakes))
            raise InvalidSettings("\n".join(lines))
        return Settings(
            **values,
            nats=Nats(**nats),
            cells=cells,
            router=Router(**router),
            telemetry=Telemetry(**telemetry),
            audit=Audit(**audit),
            archive=Archive(**_attributes(archive)),
            privacy=Privacy(**privacy),
            http=Http(**_attributes(http)),
            ray=Ray(**_attributes(ray)),
            backends={name: Backend(**_attributes(backend)) for name, backend in backends.items()},
            checks={name: Check(**_attributes(check)) for name, check in checks.items()},
        )

    def _cells(self, tables: list[Mapping[str, object]]) -> tuple[Cell, ...]:
        path, cells, mistakes = ("cells",), list[Cell](), len(self._mistakes)
        for number, table in enumerate(tables, 1):
            values = self._table(path, table, settings_cells.CELL, ("shards",))
            if bool(table.get("url")) == bool(table.get("data")):
                self._wrong(path, f"[[cells]] number {number} needs either url, its server's, or data, a node's folder")
            if "shards" in values:
                cells.append(Cell(**values))
        if cells and len(self._mistakes) == mistakes:
            for mistake in settings_cells.mistakes(cells):
                self._wrong(path, mistake)
        return tuple(cells)

    def _router(self, table: Mapping[str, object]) -> dict[str, Any]:
        path = ("router",)
        values = self._table(path, table, settings_values.ROUTER)
        cascade = self._table((*path, "cascade"), values.pop("cascade", {}), settings_values.CASCADE)
        agent = self._table((*path, "agent"), values.pop("agent", {}), settings_values.AGENT)
        return _attributes(values) | {"cascade": Cascade(**cascade), "agent": Agent(**_attributes(agent))}

    def _check(self, name: str, table: object) -> dict[str, Any]:
        path = ("checks", name)
        try:
            checked_id(name, "check name")
            keys = settings_values.table(table, _name(path))
        except InvalidInput as error:
            self._wrong(path, str(error))
            return {}
        if name == "schema":
            self._wrong(path, f'[{_name(path)}] "schema" is the check by a task\'s own schema; give yours another name')
            return {}
        if name == "judge":
            return self._table(path, keys, settings_values.JUDGE)
        return self._table(path, keys, settings_values.CHECK, ("function",))

    def _check_names(
        self, router: Mapping[str, Any], checks: Mapping[str, Any], backends: Iterable[str] | None
    ) -> None:
        """Names of checks, and of backends where these are all there are (not None), must be known."""
        self._known(("router", "cascade", "check"), router["cascade"].check, {*BUILT_IN_CHECKS, *checks}, "check")
        if backends is not None:
            judge = checks.get("judge", {}).get("backend", "")
            adviser = router["agent"].backend
            for path, name in ((("router", "agent", "backend"), adviser), (("checks", "judge", "backend"), judge)):
                if name:
                    self._known(path, name, backends, "backend")

    def _known(self, path: KeyPath, name: str, known: Iterable[str], kind: str) -> None:
        if name not in known:
            guess = did_you_mean(name, known)
            hint = f"did you mean {guess!r}?" if guess else f"known are {', '.join(sorted(known)) or 'none'}"
            self._wrong(path, f"{_name(path)}: unknown {kind} {name!r}; {hint}")

    def _wrong(self, path: KeyPath, message: str) -> None:
        """Note a mistake where ``path`` stands, or else the nearest table around it."""
        places = (self._lines.get(path[:length]) for length in range(len(path), 0, -1))
        self._mistakes.append((next((line for line in places if line), 1), message))

    def _table(
        self, path: KeyPath, table: Mapping[str, object], readers: Mapping[str, Reader], needed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """What the keys of one table mean, without those that are wrong."""
        values: dict[str, Any] = {}
        meant: set[str | None] = set()
        for key, value in table.items():
            if key not in readers:
                meant.add(self._unknown(path, key, value, readers))
                continue
            try:
                values[key] = readers[key](value, _name((*path, key)))
            except InvalidInput as error:
                self._wrong((*path, key), str(error))
        for key in needed:
            if key not in table and key not in meant:
                self._wrong(path, f"[{_name(path)}] missing key {key!r}, as in {_EXAMPLES[key]}")
        return values

    def _unknown(self, path: KeyPath, key: str, value: object, readers: Mapping[str, Reader]) -> str | None:
        """Note an unknown key; returns the key that was probably meant."""
        place = f"[{_name(path)}] " if path else ""
        if path[:1] == ("backends",) and key.casefold().replace("-", "_") in _SECRETS:
            variable = re.sub(r"\W|-", "_", path[1]).upper() + "_API_KEY"
            hint = f'put it into an environment variable and name that: api_key_env = "{variable}"'
            self._wrong((*path, key), f"{place}{key!r}: a key must not stand in this file; {hint}")
            return None
        other = _OTHER_NAMES.get(key)
        guess = other if other in readers else did_you_mean(key, readers)
        kind = "table" if isinstance(value, dict) and not path else "key"
        hint = f"did you mean {guess!r}?" if guess else f"known are {', '.join(readers)}"
        self._wrong((*path, key), f"{place}unknown {kind} {key!r}; {hint}")
        return guess

    def _backend(self, name: str, table: object) -> dict[str, Any]:
        path = ("backends", name)
        try:
            checked_id(name, "backend name")
            settings_values.table(table, _name(path))
        except InvalidInput as error:
            self._wrong(path, str(error))
        if not isinstance(table, dict):
            return {}
        keys = {key: value for key, value in table.items() if not self._is_dotted_name(path, key, value)}
        if table and not keys:
            return {}
        provider = keys.get("provider")
        known = provider if isinstance(provider, str) and provider in get_args(ProviderName) else ""
        values = self._table(path, keys, settings_values.BACKEND, _NEEDED.get(known, ("provider",)))
        for key in _MEANINGLESS.get(known, ()):
            if key in keys:
                self._wrong((*path, key), f'[{_name(path)}] {key!r} means nothing to provider "{known}"; remove it')
        if values.get("first_token_timeout", 0) > values.get("timeout", float("inf")):
            what = f"{_name(path)}.first_token_timeout must not be longer than timeout"
            self._wrong((*path, "first_token_timeout"), what)
        if "price" in values:
            prices = self._table((*path, "price"), values.pop("price"), settings_values.PRICE, ("input", "output"))
            values["price"] = Price(**prices)
        if "scaling" in values:
            values["scaling"] = self._scaling((*path, "scaling"), values.pop("scaling"), values)
        if "ray" in values:
            values["ray"] = Placement(**self._table((*path, "ray"), values.pop("ray"), settings_values.PLACEMENT))
        return values

    def _scaling(self, path: KeyPath, table: Mapping[str, object], backend: Mapping[str, Any]) -> Scaling:
        scaling = Scaling(**self._table(path, table, settings_values.SCALING))
        if scaling.min > scaling.max:
            self._wrong((*path, "min"), f"{_name(path)}.min is {scaling.min}, more than max, which is {scaling.max}")
        elif "replicas" in backend and not scaling.min <= backend["replicas"] <= scaling.max:
            what = f"{_name(path[:-1])}.replicas must be from {scaling.min} to {scaling.max}, as {_name(path)} says"
            self._wrong((*path[:-1], "replicas"), what)
        return scaling

    def _is_dotted_name(self, path: KeyPath, key: str, value: object) -> bool:
        """Whether ``key`` is the rest of a name like ``gpt-4.1``, which TOML reads as table ``1`` in ``gpt-4``."""
        if not isinstance(value, dict) or key in settings_values.BACKEND or did_you_mean(key, _TABLES):
            return False
        path = (*path, key)
        while len(value) == 1 and isinstance(rest := next(iter(value.values())), dict) and not value.keys() & _TABLES:
            path, value = (*path, next(iter(value))), rest
        dashed = "-".join(path[1:])
        self._wrong(
            path, f"[{_name(path)}] the name of a backend can't hold a dot; write [backends.{_name((dashed,))}]"
        )
        return True
