"""The image: what can be said of it without building it."""

import re

from deploy_files.reading import ROOT, VERSION

FILE = ROOT / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, lines put together."""
    lines = [line for line in FILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole.splitlines()]


def test_it_is_built_as_it_should():
    """In two stages, from pinned bases, of pinned packages, and run without root."""
    made = instructions()
    bases = [words.split()[0] for name, words in made if name == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    installs = [words for name, words in made if name == "RUN" and "pip install" in words]
    assert installs
    assert all("-c deploy/constraints.txt" in each and "--no-cache-dir" in each for each in installs)
    last = max(number for number, (name, _) in enumerate(made) if name == "FROM")
    final = made[last:]
    assert [words for name, words in final if name == "USER"] == ["1000:1000"]
    assert not [words for name, words in final if name == "RUN" and ("apt-get" in words or "curl" in words)]
    assert not [name for name, _ in made if name in {"ADD", "MAINTAINER"}]
    assert f'org.opencontainers.image.version="{VERSION}"' in FILE.read_text()
    assert "http" not in re.sub(r"#.*", "", FILE.read_text())
    copies = [words for name, words in final if name == "COPY"]
    assert copies == ["--from=build /opt/callboard /opt/callboard"]


def test_what_is_sent_to_the_build():
    """Everything that a wheel is made of, and no more: what stands in the list is there."""
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sent)
    links = {path.name for path in (ROOT / "src" / "callboard").iterdir() if path.is_symlink()}
    assert links | {"src", "pyproject.toml", "README.md", "LICENSE"} <= sent
