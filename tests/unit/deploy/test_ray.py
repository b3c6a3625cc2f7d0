"""What the application on Ray is made of, and how it follows the log. Ray itself is not needed for it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from callboard.actors.projector import Projector
from callboard.bus.entities import BACKEND, Entities
from callboard.bus.errors import Unavailable
from callboard.bus.memory import MemoryBus
from callboard.deploy.pulse import Pulse, Unwell
from callboard.deploy.ray.deployed import App, Deployed, Running, last_line
from callboard.deploy.ray.environment import prepare
from callboard.deploy.ray.parts import backend_of, deployments_of, part_of
from callboard.deploy.ray.scaler import Scaler
from callboard.deploy.replicas import Replicas
from callboard.deploy.settings_file import parse
from callboard.events.backend import BackendSpec, Registered, Scaled
from callboard.events.errors import InvalidInput
from callboard.projections.backends import BACKENDS
from callboard.projections.live import LIVE

COMMAND = "import sys; from callboard.deploy.cli import main\ntry: main()\nfinally: assert 'ray' not in sys.modules"
SECRET = "sk-0123456789"
SETTINGS = """
nats.url = "nats://127.0.0.1:4222"
router.policy = "fastest"
ray = { routers = 2, drain = "5s", agents = "crew.py" }

[checks.polite]
function = "judges:polite"

[backends.a]
provider = "openai"
model = "m"
price = { input = 1, output = 2 }
ray = { num_cpus = 0.5, resources = { tpu = 1 } }

[backends.b]
provider = "callable"
function = "models.small:reply"
replicas = 3
"""


GOOD = '[backends.a]\nprovider = "callable"\nfunction = "m:f"\n'


def deployments(folder: Path, text: str = SETTINGS, wanted=None):
    found = deployments_of(parse(text, "callboard.toml"), folder, wanted or {})
    return {each.name: each for each in found}


def test_each_backend_is_a_deployment(tmp_path):
    """With control, routers and hosts; each has what it needs, and no more."""
    found = deployments(tmp_path)
    assert {name: each.replicas for name, each in found.items()} == {
        "control": 1, "router": 2, "agents": 1, "backend-a": 1, "backend-b": 3,
    }  # fmt: skip
    assert found["backend-a"].part.roles == ("backend:a",)
    assert found["backend-a"].part.settings.backends.keys() == {"a"}
    assert (found["backend-a"].placement.num_cpus, found["backend-a"].placement.resources) == (0.5, {"tpu": 1.0})
    assert found["router"].part.settings.router.policy == "fastest"
    assert found["agents"].part.agents == str(tmp_path / "crew.py")
    assert [backend_of(name) for name in found] == [None, None, None, "a", "b"]


def test_a_part_travels_as_json_and_says_only_what_is_set(tmp_path, monkeypatch):
    """What a replica is told is what was meant; defaults are not told, nor keys."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for each in deployments(tmp_path).values():
        told = json.loads(json.dumps(each.part.config()))
        assert part_of(told) == each.part
        assert SECRET not in json.dumps(told)
    assert deployments(tmp_path)["router"].part.config()["settings"]["router"] == {"policy": "fastest"}


def test_what_the_log_wants_counts(tmp_path):
    """Not what is configured; one that is to have none is deployed with one, which Serve then ends."""
    found = deployments(tmp_path, wanted={"a": 4, "b": 0})
    assert (found["backend-a"].replicas, found["backend-b"].replicas) == (4, 1)


def test_a_change_concerns_only_whom_it_is_about(tmp_path):
    """A backend's price is told to its own replicas, the router's policy to routers; nobody is replaced for it."""
    before = deployments(tmp_path)
    for changed, text in (
        ({"backend-a"}, SETTINGS.replace("input = 1", "input = 3")),
        ({"router"}, SETTINGS.replace("fastest", "cheapest")),
    ):
        after = deployments(tmp_path, text)
        assert {name for name in after if after[name].part != before[name].part} == changed
        assert all(after[name].version == before[name].version for name in after)


def test_changed_code_replaces_whoever_runs_it(tmp_path):
    """A function's module beside the settings, or the agents' file: its replicas get a new version."""
    before = deployments(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.py").write_text("def reply(request): ...")
    (tmp_path / "crew.py").write_text("")
    after = deployments(tmp_path)
    assert {name for name in after if after[name].version != before[name].version} == {"backend-b", "agents"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SETTINGS.replace('nats.url = "nats://127.0.0.1:4222"', ""), "set url"),
        (SETTINGS[: SETTINGS.index("[backends.a]")], "no backends"),
    ],
)
def test_what_cant_run_on_ray_is_told(tmp_path, text, said):
    """In one line, before anything is started."""
    with pytest.raises(InvalidInput, match=said) as caught:
        deployments(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown_to_ray(tmp_path):
    """What is told to replicas can be read by anybody on the cluster."""
    settings = parse(SETTINGS, "callboard.toml")
    settings = replace(settings, nats=replace(settings.nats, url="nats://a:1,nats://me:secret@b:1"))
    with pytest.raises(InvalidInput, match="holds a user name") as caught:
        deployments_of(settings, tmp_path, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (GOOD, "set url"),
        ('[nats]\nurl = "nats://127.0.0.1:1"\n', "no backends"),
    ],
)
def test_mistakes_are_told_before_ray_is_looked_for(tmp_path, settings, said):
    """Each in one line; Ray, which takes a second to import, is not."""
    (tmp_path / "callboard.toml").write_text(settings)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
    command = [sys.executable, "-c", COMMAND, "deploy", "up", "--ray"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_reason_is_one_line():
    """Of a whole traceback, what was raised; else who is waited for."""
    told = 'Traceback (most recent call last):\n  File "x.py", line 1\n    raise\nInvalidInput: no key\n'
    failed = Deployed("backend-a", "UNHEALTHY", 1, message=told)
    waiting = Deployed("router", "UPDATING", 2, (Running("r", "RUNNING"), Running("s", "STARTING")))
    well = Deployed("control", "HEALTHY", 1, (Running("c", "RUNNING"),))
    assert App("x", "DEPLOYING", "", (well, waiting)).reason == "waiting for router"
    assert App("x", "DEPLOY_FAILED", "", (well, waiting, failed)).reason == "backend-a: InvalidInput: no key"
    assert App("x", "RUNNING", "", (well,)).is_up({"control"})
    assert not App("x", "RUNNING", "", (well,)).is_up({"control", "router"})
    assert last_line("") == ""


def test_a_token_is_shown_where_there_is_one(monkeypatch, tmp_path):
    """Ray asks for the token of the machine; nobody is asked to turn that on."""
    monkeypatch.setenv("HOME", str(tmp_path))
    environ: dict[str, str] = {}
    prepare(environ)
    assert environ == {"RAY_USAGE_STATS_ENABLED": "0"}
    prepare(environ := {"RAY_AUTH_TOKEN": "x"})
    assert environ["RAY_AUTH_MODE"] == "token"
    prepare(environ := {"RAY_AUTH_TOKEN": "x", "RAY_AUTH_MODE": "disabled"})
    assert environ["RAY_AUTH_MODE"] == "disabled"


class Log:
    """A log in memory with projections that follow it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.backends = Entities(self.bus.log, BACKEND, "operator")
        self.projector = Projector(self.bus, *LIVE)
        self.running = [asyncio.create_task(self.projector.run(), name="projector")]

    async def say(self, name: str, *events) -> None:
        told = await self.backends.tell(name, lambda _: events)
        await self.projector.reached(told.entity.seq)

    async def close(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.bus.aclose()


@pytest.fixture
async def log():
    log = Log()
    await log.say("a", Registered(BackendSpec("callable", "m")), Scaled(2))
    yield log
    await log.close()


async def until(reached) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.01)


class Serve:
    """Serve as the scaler sees it."""

    def __init__(self) -> None:
        self.wanted = {"control": 1, "backend-a": 1, "backend-other": 7}
        self.asked = 0
        self.gone = False

    def app(self, name):
        if self.gone:
            raise Unavailable("Serve's controller: it is being replaced")
        return App(name, "RUNNING", "", tuple(Deployed(each, "HEALTHY", count) for each, count in self.wanted.items()))

    def scale(self, app, deployment, replicas):
        self.asked += 1
        self.wanted[deployment] = replicas


async def test_serve_follows_the_log(log, monkeypatch):
    """Up, down, to none, and back after somebody else changed it; what the log does not know is left alone."""
    monkeypatch.setattr("callboard.deploy.ray.scaler.LOOK_S", 0.05)
    serve = Serve()
    log.running.append(asyncio.create_task(Scaler(log.projector, serve, "callboard").run()))
    await until(lambda: serve.wanted["backend-a"] == 2)
    for replicas in (4, 0, 1):
        await log.say("a", Scaled(replicas))
        await until(lambda: serve.wanted["backend-a"] == replicas)  # noqa: B023
    serve.wanted["backend-a"] = 3  # as a redeployment does
    await until(lambda: serve.wanted["backend-a"] == 1)
    serve.gone = True
    await log.say("a", Scaled(0))
    await asyncio.sleep(0.1)
    serve.gone = False
    await until(lambda: serve.wanted["backend-a"] == 0)
    assert serve.asked == 6
    assert (serve.wanted["control"], serve.wanted["backend-other"]) == (1, 7)


class Hand:
    """A worker that notes whether it works."""

    def __init__(self, working: set, name: tuple[str, int]) -> None:
        self._working, self._name = working, name

    async def run(self) -> None:
        self._working.add(self._name)
        try:
            await asyncio.Event().wait()
        finally:
            self._working.discard(self._name)

    async def drain(self, grace_s: float) -> None:
        await asyncio.sleep(0)

    def retire(self) -> None:
        """There is nothing to do."""


async def test_a_process_that_is_one_of_several_runs_one_worker(log):
    """However many the log wants; and none when it wants none, before the process is ended."""
    working: set = set()
    replicas = Replicas({"a"}, log.projector, lambda name, number: Hand(working, (name, number)), most=lambda _: 1)
    log.running.append(asyncio.create_task(replicas.run()))
    await until(lambda: working == {("a", 0)})
    await log.say("a", Scaled(0))
    await until(lambda: not working)
    await log.say("a", Scaled(5))
    await until(lambda: working == {("a", 0)})
    stopping = asyncio.create_task(replicas.stop(1.0))
    await until(lambda: not working)
    await log.say("a", Scaled(2))  # nobody begins in a process that ends
    await stopping
    await asyncio.sleep(0.05)
    assert not working


async def test_a_log_that_is_out_of_reach_is_told(log):
    """After a while: what a call gave waits for the log in memory."""
    pulse = Pulse(log.bus, log.projector, [], patience_s=0.1)
    log.bus.log.close()
    await pulse.check()
    await asyncio.sleep(0.15)
    with pytest.raises(Unwell, match="out of reach"):
        await pulse.check()


async def test_a_node_is_well_while_its_log_moves_and_its_actors_run(log):
    """An actor that ended and projections that stand still are told."""
    idle = asyncio.create_task(asyncio.Event().wait(), name="router")
    log.running.append(idle)
    pulse = Pulse(log.bus, log.projector, [idle], patience_s=0.0)
    await pulse.check()
    await log.say("a", Scaled(3))
    await pulse.check()
    log.running[0].cancel()  # the projections stand still from now on
    await asyncio.wait([log.running[0]])
    await log.backends.tell("a", lambda _: [Scaled(4)])
    await pulse.check()  # sees that there is more
    with pytest.raises(Unwell, match="projections stand at"):
        await pulse.check()
    idle.cancel()
    await asyncio.wait([idle])
    with pytest.raises(Unwell, match="ended before the node did: router"):
        await pulse.check()
    assert log.projector.state(BACKENDS).by_id["a"].replicas == 3
