"""Prometheus' own checker: in Debian's package prometheus, unpacked by `.ci/run` into `.tools`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / ".tools" / "usr" / "bin"


def promtool(*args: str, stdin: str = "") -> str:
    """What it says, all of it; it finds nothing wrong. Skips the test where there is none, but not on CI."""
    found = shutil.which("promtool", path=f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        assert not os.environ.get("CI"), "no promtool: .ci/run unpacks it"
        pytest.skip("no promtool here (Debian's package prometheus has it)")
    done = subprocess.run([found, *args], input=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
