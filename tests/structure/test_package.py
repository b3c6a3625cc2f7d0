"""What is shipped: a wheel, built from the sdist, that holds every module and nothing else, and works alone."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("actors", "bus", "events", "projections", "deploy")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def sources() -> set[str]:
    files = {f"callboard/{path.relative_to(ROOT)}" for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    return files | {"callboard/__init__.py", "callboard/py.typed"}


def test_the_wheel_holds_every_module_and_nothing_else(built):
    """Top level: callboard and its metadata. Other files there are data of the package's own folders."""
    names = {name for name in zipfile.ZipFile(built[1]).namelist() if not name.endswith("/")}
    assert sources() <= names
    assert {name.split("/")[0] for name in names} == {"callboard", "callboard-0.1.0.dist-info"}
    assert {name for name in names if name.endswith(".py")} == {name for name in sources() if name.endswith(".py")}


def test_the_sdist_carries_the_linked_files(built):
    """Links are no use to whoever unpacks it: the files themselves are in it, and the tests."""
    with tarfile.open(built[0]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert members["src/callboard/events/task.py"].isfile()
    assert {"README.md", "LICENSE", "pyproject.toml", "tests/structure/test_package.py"} <= members.keys()


def test_the_wheel_works_alone(built, tmp_path):
    """Unpacked beside the dependencies and run from elsewhere, it imports its own modules."""
    venv.create(tmp_path / "venv", symlinks=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(built[1]).extractall(site)
    dependencies = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    code = "import callboard, callboard.deploy.node as node; print(callboard.__file__, node.__file__)"
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(str(site) in path for path in done.stdout.split())
