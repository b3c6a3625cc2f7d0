"""Where Callboard runs in the acceptance suite: as an embedded node, or as an application on Ray. Both in processes of
their own, started by the command line as a person would, in a folder with the same settings."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from servers import acceptance_models
from servers.working_directory import COMMAND, ENVIRON, Folder, end

import callboard

SETTINGS = """
[nats]
url = "{url}"

[router]
policy = "cheapest"

[checks.is_long]
function = "callable_backends:is_long"

[ray]
agents = "acceptance_models.py"
drain = "10s"

[backends.echo]
provider = "callable"
function = "callable_backends:echo"
price = {{ input = 1, output = 2 }}

[backends.slow]
provider = "callable"
function = "callable_backends:slow"
capabilities = ["chat", "slow"]

[backends.moody]
provider = "callable"
function = "acceptance_models:moody"
capabilities = ["chat", "moods"]

[backends.curt]
provider = "callable"
function = "callable_backends:curt"
capabilities = ["chat", "work"]
tier = "small"
price = {{ input = 1, output = 1 }}

[backends.chatty]
provider = "callable"
function = "callable_backends:chatty"
capabilities = ["chat", "work"]
tier = "frontier"
price = {{ input = 10, output = 10 }}

[backends.clerk]
provider = "callable"
function = "acceptance_models:clerk"
capabilities = ["chat", "tools"]
"""
SERVER = Path(__file__).with_name("nats_server.py")
UP_S = 120


class Place(Folder):
    """A folder, and what runs there."""

    url = ""
    settings = SETTINGS

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        shutil.copy(Path(acceptance_models.__file__), path)
        self.settle()

    def settle(self) -> None:
        """Write the settings."""
        (self.path / "callboard.toml").write_text(self.settings.format(url=self.url))

    def board(self):
        """The Python client; `async with`."""
        with contextlib.chdir(self.path):
            return callboard.connect(self.url or None, data=None if self.url else str(self.path / ".callboard"))


class Embedded(Place):
    """A node with its own server, and a host of the agents."""

    def up(self) -> None:
        self.node, self.ready = super().up()
        self.address = self.ready["url"]
        self.host, _ = self.serve("run", "acceptance_models.py")

    def down(self) -> None:
        end(self.host)
        end(self.node)

    def close(self) -> None:
        for process in (self.host, self.node):
            process.kill()
            process.wait()
            process.stdout.close()


class OnRay(Place):
    """An application on a Ray of its own, over a NATS server."""

    def up(self) -> None:
        self.serve_nats()
        self.deploy("up", "--ray")

    def serve_nats(self) -> None:
        """The server that all of it shares; its address stands in the settings."""
        self.server = subprocess.Popen(
            [sys.executable, str(SERVER), str(self.path / "nats")], stdout=subprocess.PIPE, text=True, env=ENVIRON
        )
        self.url = self.address = self.server.stdout.readline().strip()
        self.settle()

    def deploy(self, *args: str, code: int = 0) -> str:
        """What `callboard deploy` says, in a process of its own, as it brings in Ray; or how it ends badly."""
        environ = {name: value for name, value in ENVIRON.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            [*COMMAND, "deploy", *args], cwd=self.path, env=environ, capture_output=True, text=True,
            timeout=UP_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr if code else done.stdout

    def down(self) -> None:
        self.deploy("down")
        self._end_server()

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self.deploy("down")
        self._end_server()

    def _end_server(self) -> None:
        if self.server.poll() is None:
            os.kill(self.server.pid, signal.SIGTERM)
            self.server.wait(UP_S)
        self.server.stdout.close()
