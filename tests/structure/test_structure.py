"""The shape of the code: what may import what, what is public, and that the README is true."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import callboard
from callboard.deploy.cli.group import SECTIONS

ROOT = Path(__file__).parents[2]
FOLDERS = ("actors", "bus", "events", "projections", "deploy")
README = (ROOT / "README.md").read_text()
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

ONLY_IN = {
    "nats": "bus/client.py",
    "httpx": "actors/backend/providers/http.py",
    "matplotlib": "deploy/plots.py",
    "mcp": "actors/tools/mcp_connection.py",
    "pyarrow": "bus/archive/parquet.py",
    "duckdb": "deploy/sql/database.py",
    "httpx2": "actors/tools/mcp_connection.py",
}
PURE = ("events", "projections", "actors/router/policies")
IMPURE = {"time", "random", "secrets", "socket", "os", "pathlib", "asyncio", "io", "subprocess", "uuid", "threading"}
VAGUE = {"utils", "util", "base", "common", "manager", "helper", "helpers", "misc", "core"}


@cache
def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, at any depth in it, but for type checking."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_has_one_purpose(path):
    """No vague names, no file over 400 lines, and a first line that says what it is for."""
    assert path.stem not in VAGUE
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize(("package", "home"), ONLY_IN.items())
def test_foreign_packages_have_one_door(package, home):
    """nats, httpx and the like are imported in one file each."""
    importers = {name_of(path) for path in MODULES for name in imports_of(path) if name.split(".")[0] == package}
    assert importers == {home}


def test_one_file_encrypts():
    """Ciphers are made in one file, so that there is one place to look at."""
    ciphers = "cryptography.hazmat.primitives.ciphers"
    assert {name_of(path) for path in MODULES if any(name.startswith(ciphers) for name in imports_of(path))} == {
        "bus/cipher.py"
    }


@pytest.mark.parametrize(
    ("package", "home"),
    [("starlette", "deploy/http/"), ("uvicorn", "deploy/http/"), ("prometheus_client", "deploy/prometheus/")],
)
def test_http_and_metrics_have_a_folder(package, home):
    """What serves HTTP and what writes metrics is known in one folder each."""
    importers = {name_of(path) for path in MODULES for name in imports_of(path) if name.split(".")[0] == package}
    assert importers
    assert all(importer.startswith(home) for importer in importers), importers


def test_ray_is_imported_in_one_folder():
    """Only what runs on Ray imports it."""
    importers = {name_of(path) for path in MODULES for name in imports_of(path) if name.split(".")[0] == "ray"}
    assert importers
    assert all(importer.startswith("deploy/ray/") for importer in importers), importers


@pytest.mark.parametrize("folder", PURE)
def test_pure_folders_touch_nothing(folder):
    """No clock, no dice, no socket, no file in events, projections and policies."""
    for path in (ROOT / folder).rglob("*.py"):
        assert not {name.split(".")[0] for name in imports_of(path)} & IMPURE, name_of(path)


def test_only_the_shell_reads_the_environment():
    """Environment variables are looked at in deploy alone."""
    readers = {name_of(path) for path in MODULES if re.search(r"os\.(environ|getenv)", path.read_text())}
    assert all(reader.startswith("deploy/") for reader in readers), readers


def test_the_front_door_is_exact():
    """`__all__` is what can be reached, and all of it can."""
    assert sorted(callboard.__all__) == sorted(
        {
            *("cells", "Cells"),
            *("connect", "Board", "TaskHandle", "Token", "Outcome", "ContextHandle", "ApprovalHandle"),
            *("Agent", "agent", "Handler", "Turn", "MessageHandle", "tool", "McpServer", "ToolCall", "CallInfo"),
            *("Say", "Put", "Drop"),
            *("CallboardError", "TaskFailed", "Clash", "Forgotten", "__version__"),
            *("MessageFailed", "StepFailed", "StepError", "Refusal", "ToolError"),
        }
    )
    for name in callboard.__all__:
        assert getattr(callboard, name) is not None


@pytest.mark.parametrize("code", ["import callboard", "import callboard.deploy.cli"])
def test_imports_are_lazy(code):
    """Nothing heavy is imported before a command needs it."""
    heavy = (
        "{'ray', 'nats', 'httpx', 'rich', 'opentelemetry', 'genai_prices', 'numpy', 'xllamacpp', 'matplotlib', 'mcp',"
        " 'pyarrow', 'duckdb', 'starlette', 'uvicorn', 'prometheus_client'}"
    )
    check = f"{code}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_of_the_readme_exist():
    """Every `callboard x` in the README is a command."""
    known = {name for section in SECTIONS.values() for name in section}
    used = set(re.findall(r"callboard ([a-z]+)(?= |$|`|\n)", re.sub(r"```toml.*?```", "", README, flags=re.DOTALL)))
    assert used - known <= {"is", "up"}
    assert {"demo", "up", "submit", "why", "costs", "scale", "dead", "doctor"} <= used


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
def test_settings_of_the_readme_are_right(block):
    """They are TOML, and Callboard takes them."""
    from callboard.deploy.settings import Settings
    from callboard.deploy.settings_file import parse

    assert tomllib.loads(block)
    assert parse(block, "README.md") != Settings()


def test_the_two_commands_install_what_the_project_offers():
    """The extras that the README installs are there, and so are the pinned versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {extra for group in re.findall(r"-e '\.\[(.+?)\]'", README) for extra in group.split(",")}
    assert wanted == set(project["optional-dependencies"])
    pins = (ROOT / "deploy" / "constraints.txt").read_text()
    assert "://" not in pins
    for dependency in project["dependencies"]:
        name = re.split(r"[\[><=]", dependency)[0]
        assert re.search(rf"^{re.escape(name)}==", pins, re.MULTILINE | re.IGNORECASE), name


def test_architecture_names_what_is_there():
    """Files that ARCHITECTURE.md names exist."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"`((?:actors|bus|events|projections|deploy|tests)/[\w/.-]*)`", text):
        assert (ROOT / name).exists(), name
