"""A working directory with settings, in which the command line is used as a person does."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result
from servers import callable_backends

import callboard
from callboard.bus.errors import ServerError
from callboard.bus.server_binary import nats_server
from callboard.deploy.cli import callboard as command

COMMAND = (sys.executable, "-c", "from callboard.deploy.cli import main; main()")
SETTINGS = """
[backends.echo]
provider = "callable"
function = "callable_backends:echo"
price = { input = 1, output = 2 }

[backends.slow]
provider = "callable"
function = "callable_backends:slow"
capabilities = ["chat", "slow"]

[backends.broken]
provider = "callable"
function = "callable_backends:broken"
capabilities = ["broken"]

[backends.hosted]
provider = "openai"
model = "gpt-5-mini"
"""
HIDDEN = [name for name in os.environ if name.startswith(("CALLBOARD_", "OPENAI_"))]
ENVIRON = {name: value for name, value in os.environ.items() if name not in HIDDEN}
WAIT_S = 30


class Folder:
    """A working directory with settings, where commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copy(Path(callable_backends.__file__), path)
        (path / "callboard.toml").write_text(SETTINGS)

    def start(self, *args: str) -> subprocess.Popen:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*COMMAND, *args], cwd=self.path, env=ENVIRON, text=True, **pipes)

    def up(self) -> tuple[subprocess.Popen, dict]:
        """A node, and what it said when it was ready."""
        return self.serve("up")

    def serve(self, *args: str) -> tuple[subprocess.Popen, dict]:
        """A command that runs on, and what it said when it was ready."""
        try:
            asyncio.run(nats_server())
        except ServerError as error:
            if "CI" in os.environ:
                raise
            pytest.skip(str(error))
        told = self.path / f"{args[0]}.err"
        with told.open("wb") as errors:
            node = subprocess.Popen(
                [*COMMAND, *args, "--json"], cwd=self.path, env=ENVIRON, stdout=subprocess.PIPE, stderr=errors
            )
        line = node.stdout.readline()
        assert line, told.read_text()
        return node, json.loads(line)

    def process(self, *args: str, stdin: str = "") -> str:
        """Standard output of a command in a process of its own, which ends well."""
        ended = subprocess.run(
            [*COMMAND, *args],
            cwd=self.path,
            env=ENVIRON,
            text=True,
            input=stdin,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def call(self, *args: str, code: int = 0) -> Result:
        """What a command in this process says; it ends with ``code`` and without a traceback."""
        logging_to, environ = list(logging.root.handlers), dict.fromkeys(HIDDEN)
        try:
            with contextlib.chdir(self.path):
                ended = CliRunner(env=environ).invoke(command, args, prog_name="callboard")
        finally:
            structlog.reset_defaults()
            logging.root.handlers = logging_to
        assert "Traceback" not in ended.stderr, f"{args}: {ended.stderr}"
        assert ended.exit_code == code, f"{args}: {ended.stdout}\n{ended.stderr}"
        return ended

    def json(self, *args: str, code: int = 0):
        return json.loads(self.call(*args, "--json", code=code).stdout)

    def until(self, task: str, reached: Callable[[dict], bool]) -> dict:
        """What `show` says of the task as soon as it is as wanted."""
        deadline = time.monotonic() + WAIT_S
        while not reached(shown := self.json("show", task)):
            assert time.monotonic() < deadline, shown
        return shown

    def submit(self, *args: str) -> str:
        """The id of a new task that nobody waits for."""
        return self.call("submit", *args, "--no-wait").stdout.strip()


def end(node: subprocess.Popen, *, code: int = 0) -> None:
    node.send_signal(signal.SIGTERM)
    try:
        assert node.wait(WAIT_S) == code
    finally:
        node.kill()
        node.stdout.close()


async def submit_only(data: Path, text: str) -> None:
    async with callboard.connect(data=str(data)) as board:
        await board.submit(text, backend="echo")
