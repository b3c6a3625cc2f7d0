"""What a function's docstring tells a model: what it is for, and what each parameter means (Google's style)."""

import inspect
import re
from typing import NamedTuple

_SECTION = re.compile(r"(Args|Arguments|Parameters):\s*")
_PARAMETER = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


class Told(NamedTuple):
    """``description`` is all but the section on parameters; ``parameters`` are theirs by name."""

    description: str
    parameters: dict[str, str]


def told(docstring: str | None) -> Told:
    """Take a docstring apart. Whatever has another form stays in the description."""
    kept: list[str] = []
    parameters: dict[str, str] = {}
    lines = inspect.cleandoc(docstring or "").splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if not _SECTION.fullmatch(line):
            kept.append(line)
            continue
        section: list[str] = []
        while place < len(lines) and (not lines[place].strip() or lines[place][0].isspace()):
            section.append(lines[place])
            place += 1
        parameters |= _parameters(section)
    return Told(re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), parameters)


def _parameters(section: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    indent = min((len(line) - len(line.lstrip()) for line in section if line.strip()), default=0)
    for line in section:
        text = line[indent:]
        if (begins := _PARAMETER.fullmatch(text)) and not text[:1].isspace():
            name = begins[1]
            found[name] = begins[2]
        elif name and text.strip():
            found[name] = f"{found[name]} {text.strip()}".strip()
    return found
