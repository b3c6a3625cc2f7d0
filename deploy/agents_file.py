"""A Python file with agents: loading what it defines, and noticing when it changes."""

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from callboard.actors.agents.definition import Definition
from callboard.events.errors import InvalidInput

_loads: Final = count(1)


class AgentsFile(NamedTuple):
    """What a file defines, and when each of the files was written that it was made from, in ns."""

    definitions: list[Definition]
    times: dict[Path, int]


def load(path: Path) -> AgentsFile:
    """Run the file, and collect the definitions among its names, in their order.

    Modules beside it are found by import, and are loaded anew with each call. Raises InvalidInput that says in which
    line what went wrong.
    """
    if not path.is_file():
        raise InvalidInput(f"no file {path}: name a Python file that defines agents")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    for name in [name for name, module in sys.modules.items() if _is_beside(module, path)]:
        del sys.modules[name]
    module = _run(path)
    found = {id(each): each for each in vars(module).values() if isinstance(each, Definition)}
    if not found:
        raise InvalidInput(f"{path.name} defines no agents: make some by callboard.Agent(…) or @callboard.agent(…)")
    beside = {Path(each.__file__) for each in sys.modules.values() if _is_beside(each, path) and each.__file__}
    return AgentsFile([*found.values()], times_of({path, *beside}))


def _run(path: Path) -> ModuleType:
    name = f"{path.stem}#{next(_loads)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path.name} is no Python file: its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InvalidInput(f"{Path(error.filename or path).name}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        line = f", line {own[-1].lineno}" if own else ""
        kind = "" if isinstance(error, InvalidInput) else f"{type(error).__name__}: "
        raise InvalidInput(f"{path.name}{line}: {kind}{error}") from error
    finally:
        del sys.modules[name]
    return module


def _is_beside(module: ModuleType, path: Path) -> bool:
    """Whether a module is from the file's folder, or a folder in that, but was not installed there."""
    file = Path(getattr(module, "__file__", None) or "")
    return "site-packages" not in file.parts and path.parent in file.parents


def times_of(paths: Iterable[Path]) -> dict[Path, int]:
    """When each of the files was written, in ns; 0 for one that is gone."""
    return {path: path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}
