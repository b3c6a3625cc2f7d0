"""What the Serve application is made of: its deployments, and what each replica is told of the settings.

A replica is told only what concerns it, so that a changed backend leaves all others as they are. No keys are in it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from callboard.bus.addresses import has_user
from callboard.deploy.settings import Http, Placement, Ray, Router, Settings
from callboard.events.errors import InvalidInput

Kind = Literal["control", "router", "agents", "backend", "http"]

CONTROL_ROLES: Final = ("intake", "timekeeper", "gate", "traces", "archiver", "notary", "scaler")
BACKEND_PREFIX: Final = "backend-"
MARGIN_S: Final = 10.0
"""What a replica has to end, after its calls have been given their time."""

NS: Final = 1_000_000_000


class Part(Struct, frozen=True):
    """What one replica is: a node of this ``kind``, made from ``settings``.

    ``folder`` is where modules are found that the settings name, ``secrets`` where variables are that the environment
    lacks; ``agents`` is the file of agents to host. ``drain_s`` is what calls under way get when the replica ends.
    """

    kind: Kind
    settings: Settings
    folder: str
    drain_s: float
    secrets: str = ""
    agents: str = ""

    @property
    def roles(self) -> tuple[str, ...]:
        """What its node runs."""
        match self.kind:
            case "control":
                return CONTROL_ROLES
            case "router" | "http":
                return (self.kind,)
            case "agents":
                return ()
            case "backend":
                return tuple(f"backend:{name}" for name in self.settings.backends)

    def config(self) -> dict[str, Any]:
        """As it travels in Serve's ``user_config``: only what is not as by default."""
        told: dict[str, Any] = msgspec.to_builtins(_lean(self))
        return told


class Deployment(Struct, frozen=True):
    """A Serve deployment: ``replicas`` of a ``part``. A new ``version`` replaces them; a new part is told to them."""

    name: str
    part: Part
    replicas: int
    version: str
    placement: Placement = Placement()


def part_of(config: Mapping[str, Any]) -> Part:
    """The part that a ``user_config`` tells."""
    return msgspec.convert(config, Part)


def backend_of(deployment: str) -> str | None:
    """The backend whose deployment this is."""
    return deployment.removeprefix(BACKEND_PREFIX) if deployment.startswith(BACKEND_PREFIX) else None


def deployments_of(settings: Settings, folder: Path, wanted: Mapping[str, int]) -> list[Deployment]:
    """All deployments; ``wanted`` is how many replicas the log wants of each backend that it knows.

    A backend that is to have none is deployed with one replica, which does nothing: Serve deploys no less, and it ends
    as soon as somebody scales it. Raises InvalidInput for settings that can't run on Ray.
    """
    _check(settings)
    ray = settings.ray
    bare = replace(settings, data=str(settings.data_folder.absolute()), ray=Ray(), router=Router(), http=Http())
    remote = {name: backend for name, backend in settings.backends.items() if backend.workers == "remote"}
    own_checks = settings.checks if remote else {}  # the gate verifies what comes from beyond it
    found = [
        _deployment("control", replace(bare, backends=remote, checks=own_checks), ray, folder),
        _deployment("router", replace(bare, backends={}, router=settings.router), ray, folder, ray.routers),
    ]
    if ray.agents:
        found.append(_deployment("agents", replace(bare, backends={}, checks={}), ray, folder, ray.hosts))
    if settings.http.listen:
        found.append(_deployment("http", replace(bare, backends={}, checks={}, http=settings.http), ray, folder))
    for name, backend in settings.backends.items():
        if name in remote:
            continue
        own = replace(bare, backends={name: replace(backend, ray=Placement())})
        replicas = max(1, wanted.get(name, backend.replicas))
        found.append(replace(_deployment("backend", own, ray, folder, replicas, name), placement=backend.ray))
    return found


def _deployment(
    kind: Kind, settings: Settings, ray: Ray, folder: Path, replicas: int = 1, backend: str = ""
) -> Deployment:
    agents = str((folder / ray.agents).resolve()) if kind == "agents" else ""
    secrets = str(Path(ray.secrets).expanduser().absolute()) if ray.secrets else ""
    part = Part(kind, settings, str(folder), ray.drain_ns / NS, secrets, agents)
    name = BACKEND_PREFIX + backend if backend else kind
    return Deployment(name, part, replicas, _version(part))


def _lean(value: object) -> object:
    """Structs as dicts, without the fields that are as by default."""
    if isinstance(value, Struct):
        told = ((field, getattr(value, field.name)) for field in structs.fields(value))
        return {field.encode_name: _lean(each) for field, each in told if not _is_default(field, each)}
    if isinstance(value, dict):
        return {name: _lean(each) for name, each in value.items()}
    return value


def _is_default(field: structs.FieldInfo, value: object) -> bool:
    factory = field.default_factory
    return bool(value == (field.default if factory is msgspec.NODEFAULT else factory()))


def _check(settings: Settings) -> None:
    if not settings.nats.url:
        raise InvalidInput(
            'on Ray the processes share a NATS server of yours: set url = "nats://…" under [nats], or give --url'
        )
    if has_user(settings.nats.url):
        raise InvalidInput("the NATS address holds a user name: Ray would show it, so leave it out")
    if not settings.backends:
        raise InvalidInput("no backends: name some in the settings file, each is a deployment of its own")


def _version(part: Part) -> str:
    """Changes with Callboard, and with the files of functions and agents that the part runs."""
    from callboard import __version__  # noqa: PLC0415  the front door is not open yet when this is imported by it

    told = hashlib.sha256(__version__.encode())
    for file in sorted(_files(part)):
        told.update(file.name.encode() + b"\0" + file.read_bytes())
    return told.hexdigest()[:16]


def _files(part: Part) -> Iterable[Path]:
    """The files beside the settings that are named by them, as far as they are here."""
    settings = part.settings
    backends = [backend.function for backend in settings.backends.values()]
    functions = [*backends, *(check.function for check in settings.checks.values())]
    modules = {Path(part.folder, *name.partition(":")[0].split(".")) for name in functions if name}
    files = {path for module in modules for path in (module.with_suffix(".py"), module / "__init__.py")}
    return {path for path in (*files, *([Path(part.agents)] if part.agents else [])) if path.is_file()}
