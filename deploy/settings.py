"""What can be set, with its defaults. Durations are nanoseconds, money is micro-dollars, sizes are bytes.

``settings_file`` reads these from a ``callboard.toml`` and checks every value; the structs themselves check none.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

from callboard.events.money import MICROS_PER_USD, Price, Step
from callboard.events.scaling import Scaling
from callboard.events.shards import Shards

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

ProviderName = Literal["openai", "anthropic", "callable"]
Api = Literal["chat", "completions"]
Tier = Literal["small", "medium", "frontier"]
Traces = Literal["file", "off"]
Workers = Literal["tasks", "processes", "remote"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

PROVIDER_URLS: Mapping[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
PROVIDER_KEYS: Mapping[str, str] = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}

POLICIES = ("adaptive", "agent", "balanced", "best", "cascade", "cheapest", "fastest")
NO_TOKENS = "none"
BUILT_IN_CHECKS = ("judge", "schema")
POLICY_ENTRY_POINTS = "callboard.policies"
"""Group of entry points under which other packages offer policies of their own."""


class Nats(Struct, frozen=True, forbid_unknown_fields=True):
    """The NATS server: an embedded one, or the one at ``url`` (several addresses are joined by commas).

    ``fsync`` is ``always``, or how long a synced write may wait (``100ms``): what a power cut can take.
    ``max_bytes`` bounds the event log; a full log refuses appends. ``port`` of the embedded server; 0 is a free one.
    ``credentials`` is a key file, or a folder of them (of which each process takes that of its role), ``ca`` a file of
    certificate authorities for ``tls://``; both are for a server at ``url``.
    ``replicas`` is on how many servers of a cluster everything is kept; None leaves it as it is, 1 to begin with.
    """

    url: str = ""
    fsync: str = "always"
    max_bytes: int = 10_000_000_000
    port: int = 0
    credentials: str = ""
    ca: str = ""
    replicas: int | None = None


class Cell(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One of several logs, which holds ``shards`` (``0-31``): the server at ``url``, or a node on the folder ``data``.

    ``credentials`` and ``ca`` are as those of `Nats`.
    """

    shards: str
    url: str = ""
    data: str = ""
    credentials: str = ""
    ca: str = ""

    @cached_property
    def held(self) -> Shards:
        """Its shards. Raises InvalidInput when they are not valid."""
        return Shards.parse(self.shards)

    def __str__(self) -> str:
        """As it is called in messages."""
        return f"cell {self.shards} ({self.url or self.data})"


class Cascade(Struct, frozen=True, forbid_unknown_fields=True):
    """How the policy ``cascade`` verifies.

    ``check`` is for tasks that name none and have no schema. After so many ``escalations`` the best answer is used.
    """

    check: str = "judge"
    escalations: int = 2


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    """How the policy ``agent`` asks for advice: whom (empty: the cheapest), how long it waits, who decides without."""

    backend: str = ""
    timeout_ns: int = 10_000_000_000
    fallback: str = "balanced"


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    """What answers are verified with; ``accept`` is the score, in parts per million, from which they pass.

    ``function`` (``module:name``) for one of your own; ``backend`` (empty: the cheapest) and ``timeout`` for the judge.
    """

    function: str = ""
    accept: int = 700_000
    backend: str = ""
    timeout_ns: int = 30_000_000_000


class Router(Struct, frozen=True, forbid_unknown_fields=True):
    """How tasks find a backend.

    ``policy`` is one of POLICIES or an entry point of POLICY_ENTRY_POINTS. ``latency_price_micros_per_s`` and
    ``quality_price_micros_per_percent`` are what ``adaptive`` and ``balanced`` would pay, in micro-dollars, for an
    answer one second sooner, or better by one percent. ``pace_micros_per_task`` is what ``adaptive`` may spend on a
    task on average, 0 for no such bound. At most ``hedge_percent`` of the calls are second ones, beside one that is
    late with its first token; 0 makes none. Of all tasks ``explore_percent`` go to any backend that can do them, by
    lot.
    """

    policy: str = "adaptive"
    max_attempts: int = 5
    latency_price_micros_per_s: int = 500
    quality_price_micros_per_percent: int = 50
    pace_micros_per_task: int = 0
    hedge_percent: int = 5
    explore_percent: int = 0
    cascade: Cascade = Cascade()
    agent: Agent = Agent()


class Archive(Struct, frozen=True, forbid_unknown_fields=True):
    """The archive: closed stretches of the log as Parquet files in ``folder`` (empty: ``archive`` in the data folder).

    A node that is ``on`` closes a segment whenever there are so many ``messages`` for one. With ``purge`` it then takes
    out of the log what is closed, archived and older than ``keep_ns``.
    """

    folder: str = ""
    on: bool = False
    messages: int = 100_000
    purge: bool = False
    keep_ns: int = 30 * 24 * 3600 * 1_000_000_000


class Telemetry(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told of the running system: ``traces`` go to a file in the data folder, or nowhere."""

    traces: Traces = "file"
    log_level: LogLevel = "info"


class Privacy(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the master key comes from that private data needs: an environment variable, else a file.

    Without either, a node with a server of its own makes one in its data folder.
    """

    master_key_env: str = "CALLBOARD_MASTER_KEY"
    master_key_file: str = ""


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """How the log is signed: with the ``key`` in this file; empty: ``audit.key`` in the data folder."""

    key: str = ""


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """HTTP: at ``listen`` (``host:port``; empty: none), for whoever holds one of the ``tokens`` in that file.

    ``tokens`` may be empty for ``tokens.json`` in the data folder, or ``none``: then anybody on this machine is served,
    and nobody else. ``cert`` and ``key`` are PEM files, for TLS. ``open_metrics`` shows metrics without a token. For
    ``drain_ns`` before the end `/readyz` says no, while all else is served.
    """

    listen: str = ""
    tokens: str = ""
    cert: str = ""
    key: str = ""
    open_metrics: bool = False
    drain_ns: int = 1_000_000_000


class Ray(Struct, frozen=True, forbid_unknown_fields=True):
    """How it runs on Ray (`callboard deploy`).

    ``address`` of the cluster; empty: RAY_ADDRESS, else a local one, which is started if need be. ``name`` of the Serve
    application. ``routers`` and ``hosts`` are replicas; ``agents`` is the Python file that the hosts run, empty: none.
    A replica that is to end may finish what is under way for ``drain_ns``. ``secrets`` is a folder with a file for each
    variable that the environment of Ray's workers lacks.
    """

    address: str = ""
    name: str = "callboard"
    routers: int = 1
    hosts: int = 1
    agents: str = ""
    drain_ns: int = 30_000_000_000
    secrets: str = ""


class Placement(Struct, frozen=True, forbid_unknown_fields=True):
    """What Ray reserves for each replica of a backend."""

    num_cpus: float = 0.0
    num_gpus: float = 0.0
    resources: dict[str, float] = {}


class Backend(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model endpoint.

    ``url`` and ``api_key_env`` default to the provider's own; a backend with another ``url`` has no key unless
    one is named. ``model`` may be empty for a ``callable``, which has ``function`` (``module:name``) instead.
    ``context`` is the window in tokens. ``rpm`` and ``tpm`` are requests and tokens a minute, None is no limit.
    ``concurrency`` is calls at once of one replica. ``price`` None means: look it up. ``workers`` says what its
    replicas are: tasks of the node's own process, processes of their own, or remote: processes that come to the gate
    (`callboard up --role backend:NAME --through-gate`). Without ``scaling`` only people change how many.
    """

    provider: ProviderName
    model: str = ""
    url: str = ""
    api: Api = "chat"
    api_key_env: str = ""
    function: str = ""
    capabilities: tuple[str, ...] = ("chat",)
    context: int = 8192
    data_policy: tuple[str, ...] = ()
    tier: Tier = "medium"
    price: Price | None = None
    concurrency: int = 8
    rpm: int | None = None
    tpm: int | None = None
    replicas: int = 1
    workers: Workers = "tasks"
    scaling: Scaling | None = None
    first_token_timeout_ns: int = 30_000_000_000
    timeout_ns: int = 300_000_000_000
    ray: Placement = Placement()

    def __post_init__(self) -> None:
        """Fill in what follows from the provider."""
        home = PROVIDER_URLS.get(self.provider, "")
        if not self.url:
            force_setattr(self, "url", home)
        if home and self.url == home and not self.api_key_env:
            force_setattr(self, "api_key_env", PROVIDER_KEYS[self.provider])

    @property
    def address(self) -> str:
        """``url`` as it may be shown: without a query, in which there may be a key."""
        return self.url.partition("?")[0]

    def price_or_lookup(self) -> tuple[Price, bool]:
        """The price, and whether it is known: as set, else today's list price of the model at ``url``, else free."""
        if self.price is not None:
            return self.price, True
        listed = listed_price(self.url, self.model) if self.url else None
        return listed or Price(), listed is not None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of one node.

    ``backends`` and ``checks`` are by name; ``data`` is the folder of everything that is kept. ``cells`` are all logs,
    if there are several, our own among them.
    """

    data: str = ".callboard"
    nats: Nats = Nats()
    cells: tuple[Cell, ...] = ()
    router: Router = Router()
    telemetry: Telemetry = Telemetry()
    audit: Audit = Audit()
    archive: Archive = Archive()
    privacy: Privacy = Privacy()
    http: Http = Http()
    ray: Ray = Ray()
    backends: dict[str, Backend] = {}
    checks: dict[str, Check] = {}

    @property
    def data_folder(self) -> Path:
        """``data`` as a path, with ``~`` as the home folder; a relative one starts at the working directory."""
        return Path(self.data).expanduser()

    @property
    def audit_key(self) -> Path:
        """The file of the key that checkpoints are signed with."""
        return Path(self.audit.key).expanduser() if self.audit.key else self.data_folder / "audit.key"

    @property
    def http_tokens(self) -> Path | None:
        """The file of the tokens for HTTP; None when none are asked for."""
        if self.http.tokens == NO_TOKENS:
            return None
        return Path(self.http.tokens).expanduser() if self.http.tokens else self.data_folder / "tokens.json"

    @property
    def archive_folder(self) -> Path:
        """Where the archive is, whether there is one or not."""
        return Path(self.archive.folder).expanduser() if self.archive.folder else self.data_folder / "archive"


def missing_keys(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Backends that can't start: name to the environment variable that is unset or empty."""
    return {
        name: backend.api_key_env
        for name, backend in settings.backends.items()
        if backend.api_key_env and backend.workers != "remote" and not environ.get(backend.api_key_env)
    }


def listed_price(url: str, model: str) -> Price | None:
    """Today's list price of ``model`` from whoever serves ``url``, rounded up; None if it is not listed."""
    # takes 0.2 s, and most commands ask for no price
    from genai_prices import Usage, calc_price  # noqa: PLC0415
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    try:
        prices = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_api_url=url).model_price
    except LookupError:
        return None
    amounts = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok)
    base = _rates(amounts, 0)
    if base is None:
        return None
    starts = {tier.start for amount in amounts if isinstance(amount, TieredPrices) for tier in amount.tiers}
    steps = [(start, _rates(amounts, start + 1)) for start in sorted(starts)]
    return Price(*base, steps=tuple(Step(*rates, over=start) for start, rates in steps if rates))


def _rates(amounts: "Sequence[Decimal | TieredPrices | None]", input_tokens: int) -> tuple[int, int, int | None] | None:
    """Input, output and cached rate of a prompt of so many tokens; None without a price for the former two."""
    fresh, output, cached = (
        None if amount is None else _micros_up(amount if isinstance(amount, Decimal) else _at(amount, input_tokens))
        for amount in amounts
    )
    return None if fresh is None or output is None else (fresh, output, cached)


def _at(amount: "TieredPrices", input_tokens: int) -> Decimal:
    return next((tier.price for tier in reversed(amount.tiers) if input_tokens > tier.start), amount.base)


def _micros_up(usd: Decimal) -> int:
    return int((usd * MICROS_PER_USD).to_integral_value(ROUND_CEILING))
