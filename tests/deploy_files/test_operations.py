"""The operations page: what it tells people to type can be typed."""

import re

import click
import pytest
from click.testing import CliRunner
from deploy_files.reading import ROOT

from callboard.deploy.cli import callboard as command
from callboard.deploy.cli.group import SECTIONS

PAGE = (ROOT / "deploy" / "OPERATIONS.md").read_text()
KNOWN = {name for section in SECTIONS.values() for name in section}


def quoted() -> list[list[str]]:
    """Each `callboard …` of the page, as its words."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = [
        " ".join(each.split()) for each in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    ]
    found = []
    for text in [*lines, *spans]:
        told = re.split(r"\s#|[>|]|&&", text)[0]
        if match := re.match(r"(?:kubectl .* -- )?callboard ([a-z].*)", " ".join(told.split())):
            found.append(match[1].split())
    return found


@pytest.mark.parametrize("words", quoted(), ids=" ".join)
def test_each_command_exists(words):
    """So do its subcommand, and the options that are given."""
    found, path = command.get_command(click.Context(command), words[0]), [words[0]]
    assert found, words
    if isinstance(found, click.Group):
        [name] = [word for word in words[1:] if word in found.commands][:1] or [""]
        if name:
            found, path = found.commands[name], [*path, name]
    help_text = CliRunner().invoke(command, [*path, "--help"])
    assert help_text.exit_code == 0
    known = {option for each in found.params for option in each.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_some_are_quoted():
    """The page was read."""
    assert {"backup", "restore", "doctor", "audit", "keys", "tokens", "archive", "up"} <= {
        words[0] for words in quoted()
    }


def test_files_and_alerts_that_it_names_are_there():
    """Each path that is written out, but for those of parts that come with the same release."""
    elsewhere = ("deploy/SECURITY.md", "deploy/prometheus/", "deploy/grafana/", "deploy/nats/", "alerts.yml")
    for path in re.findall(r"`(deploy/[A-Za-z0-9_./-]+)`", PAGE):
        assert (ROOT / path).exists() or path.startswith(elsewhere), path
