"""Who and what HTTP refuses, in one line each: on a real node, with real requests, whole and half."""

import asyncio
import json
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from servers.http_node import http_node

from callboard.bus.errors import LogFull
from callboard.deploy.http.edge import Edge
from callboard.deploy.http.limits import MAX_BODY, Limits
from callboard.deploy.http.server import HttpServer
from callboard.deploy.http.tokens import now
from callboard.events.errors import Forgotten, IllegalTransition, InvalidInput

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory):
    async with http_node(tmp_path_factory.mktemp("doors")) as running:
        yield running


@asynccontextmanager
async def serving(node, limits=Limits(), **http):  # noqa: B008
    """Another server over the same node."""
    settings = replace(node.settings, http=replace(node.settings.http, **http))
    async with HttpServer(settings, node.node.bus, node.node.board, node.node.projector, limits=limits) as server:
        yield server


def problem(answer, status):
    """What an answer says that it refuses with."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["request"]) == (status, answer.headers["x-request-id"])
    assert "\n" not in told["detail"]
    assert "Traceback" not in answer.text
    return told["detail"]


WRONG = [
    ("POST", "/v1/tasks", {"content": b"{"}, 400, "not JSON"),
    ("POST", "/v1/tasks", {"content": b"\xff\xfe"}, 400, "not JSON"),
    ("POST", "/v1/tasks", {"content": b"[]"}, 400, "not a task"),
    ("POST", "/v1/tasks", {"content": b"{}"}, 400, "input is empty"),
    ("POST", "/v1/tasks", {"content": b'{"inptu": "a"}'}, 400, "unknown field 'inptu'; did you mean 'input'?"),
    ("POST", "/v1/tasks", {"content": b'{"input": "a", "priority": 10}'}, 400, "priority must be from 0 to 9"),
    ("POST", "/v1/tasks", {"content": b'{"input": "a", "budget": "none"}'}, 400, "unknown budget 'none'"),
    ("POST", "/v1/tasks", {"content": b'{"input": "a", "id": "a.b"}'}, 400, "'a.b'"),
    ("POST", "/v1/tasks?wiat=3", {"content": b'{"input": "a"}'}, 400, "unknown query parameter 'wiat'; known: wait"),
    ("POST", "/v1/tasks?wait=soon", {"content": b'{"input": "a"}'}, 400, "wait must be a number of seconds"),
    ("POST", "/v1/tasks", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "got text/plain"),
    ("POST", "/v1/tasks", {"content": b"{}", "headers": {"idempotency-key": ""} | JSON}, 400, "Idempotency-Key must"),
    ("POST", "/v1/tasks", {"content": b" " * (MAX_BODY + 1)}, 413, "the body is over"),
    ("PUT", "/v1/tasks", {}, 405, "PUT means nothing here; use POST"),
    ("POST", "/v1/tasks/a", {}, 405, "use GET, DELETE, HEAD"),
    ("GET", "/v1/tasks/none", {}, 404, "no task 'none'"),
    ("GET", "/v1/tasks/a.b", {}, 404, "no task 'a.b'"),
    ("DELETE", "/v1/tasks/none", {}, 404, "no task 'none'"),
    ("GET", "/v1/tasks/none/events", {}, 404, "no task 'none'"),
    ("GET", "/v1/tasks/", {}, 404, "nothing is at '/v1/tasks/'"),
    ("GET", "/", {}, 404, "nothing is at '/'"),
    ("GET", "/metrics?a=1", {}, 400, "unknown query parameter 'a'; there are none here"),
]


@pytest.mark.parametrize(("method", "path", "given", "status", "said"), WRONG)
async def test_what_is_wrong_is_said_in_a_line(node, method, path, given, status, said):
    """Every kind of wrong input: what it is, and where it can be told, how to mend it."""
    async with node.client("admin") as client:
        answer = await client.request(method, path, **{"headers": JSON} | given)
    assert said in problem(answer, status)
    if status == 405:
        assert answer.headers["allow"] in said


async def test_a_body_without_a_length_is_counted(node):
    """One that comes in pieces is cut off where it becomes too large."""

    async def pieces():
        for _ in range(9):
            yield b" " * (1 << 20)

    async with node.client("admin") as client:
        problem(await client.post("/v1/tasks", content=pieces(), headers=JSON), 413)


ASKED = [
    ("submit", "POST", "/v1/tasks"),
    ("read", "GET", "/v1/tasks/none"),
    ("read", "GET", "/v1/tasks/none/events"),
    ("cancel", "DELETE", "/v1/tasks/none"),
    ("cancel", "POST", "/v1/tasks/none/cancel"),
    ("metrics", "GET", "/metrics"),
]


@pytest.mark.parametrize(("scope", "method", "path"), ASKED)
async def test_each_scope_opens_its_own_doors_alone(node, scope, method, path):
    """With all other scopes together, it is refused; with its own, or admin, it is not."""
    others = [each for each in ("submit", "read", "cancel", "metrics") if each != scope]
    async with node.client(*others) as client:
        refused = await client.request(method, path)
        assert problem(refused, 403).endswith(f"has no scope {scope}")
        assert f'scope="{scope}"' in refused.headers["www-authenticate"]
    for own in (scope, "admin"):
        async with node.client(own) as client:
            assert (await client.request(method, path)).status_code not in (401, 403)
    async with node.client() as client:
        answer = await client.request(method, path)
        assert problem(answer, 401).startswith("no token")
        assert answer.headers["www-authenticate"] == 'Bearer realm="callboard"'


async def test_whoever_waits_must_be_allowed_to_read(node):
    """By the id or key of another's task, its answer would be told."""
    async with node.client("submit") as client:
        answer = await client.post("/v1/tasks?wait=1", json={"input": "a"})
        assert problem(answer, 403) == "token submit has no scope read"
        preferred = await client.post("/v1/tasks", json={"input": "a"}, headers={"prefer": "wait=1"})
        assert (preferred.status_code, "preference-applied" in preferred.headers) == (202, False)
        assert (await client.post("/v1/tasks", json={"input": "a"})).status_code == 202


async def test_tokens_end(node):
    """Unknown, of another kind, expired, revoked: refused at once, without a restart."""

    async def asked(authorization):
        async with node.client() as client:
            return await client.get("/v1/tasks/none", headers={"authorization": authorization})

    assert problem(await asked("Bearer cbt_guessed"), 401) == "the token is not known, or was revoked"
    assert problem(await asked("Basic YTpi"), 401).startswith("only bearer tokens")
    old, _ = node.tokens.create("old", ("read",), now() - timedelta(seconds=1), now())
    assert problem(await asked(f"Bearer {old}"), 401) == "token old has expired"
    short, _ = node.tokens.create("short", ("read",), now() + timedelta(hours=1), now())
    assert problem(await asked(f"bearer {short}"), 404)
    node.tokens.revoke("short")
    assert problem(await asked(f"Bearer {short}"), 401) == "the token is not known, or was revoked"


async def test_nobody_is_served_while_tokens_cannot_be_trusted(node, capsys):
    """A file that is broken, or that others may write to, lets nobody in; once it is mended, all is as before."""
    whole = node.tokens.path.read_bytes()
    async with node.client("read") as client:
        for spoil in (
            lambda: node.tokens.path.write_bytes(b"{"),
            lambda: node.tokens.path.write_bytes(whole) and node.tokens.path.chmod(0o666),
        ):
            spoil()
            assert problem(await client.get("/v1/tasks/none"), 503).startswith("tokens can't be read")
            node.tokens.path.chmod(0o600)
        node.tokens.path.unlink()
        assert problem(await client.get("/v1/tasks/none"), 401)
        node.tokens.path.write_bytes(whole)
        node.tokens.path.chmod(0o600)
        assert problem(await client.get("/v1/tasks/none"), 404)
        assert (await client.get("/livez")).status_code == 200


async def test_where_it_listens_without_tokens(node, tmp_path):
    """Never where others reach it; on this machine only if it is said in so many words, and by no other name."""
    with pytest.raises(InvalidInput, match=r"HTTP on 0\.0\.0\.0 needs tokens, and there is no .*tokens create"):
        async with serving(node, listen="0.0.0.0:0", tokens=str(tmp_path / "none.json")):
            pass
    with pytest.raises(InvalidInput, match="for this machine alone"):
        async with serving(node, listen="0.0.0.0:0", tokens="none"):
            pass
    with pytest.raises(InvalidInput, match=r"can't listen on 127\.0\.0\.1:\d+: Address already in use"):
        async with serving(node, listen=node.node.http_url.removeprefix("http://")):
            pass
    async with serving(node, tokens="none") as server, httpx.AsyncClient(base_url=server.url, verify=False) as client:
        assert (await client.post("/v1/tasks", json={"input": "a"})).status_code == 202
        rebound = await client.post("/v1/tasks", json={"input": "a"}, headers={"host": "example.org"})
        assert "only this machine is served" in problem(rebound, 421)
    own = str(tmp_path / "none.json")
    async with (
        serving(node, listen="[::1]:0", tokens=own) as v6,
        httpx.AsyncClient(base_url=v6.url, verify=False) as client,
    ):
        assert problem(await client.get("/v1/tasks/a"), 401)


async def test_metrics_may_be_open(node):
    """If it is set so, and nothing else is."""
    async with (
        serving(node, open_metrics=True) as server,
        httpx.AsyncClient(base_url=server.url, verify=False) as client,
    ):
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/v1/tasks/a")).status_code == 401


async def opened(server):
    host, port = server.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_half_a_request_does_not_hold_a_connection(node):
    """Nothing sent, half a head, half a second head, half a body: each ends by itself."""
    secret = node.token("submit")
    head = b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += b"authorization: Bearer %s\r\ncontent-length: 99\r\n\r\n" % secret.encode()
    async with serving(node, Limits(head_s=0.2, body_s=0.2)) as server:
        for sent, answered in (
            (b"", b""),
            (b"GET /livez HT", b""),
            (b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /li", b"ok\n"),
            (head + b'{"input', b'"detail":"the body was not here within 0.2 s"'),
            (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b'"title":"Bad Request","status":400'),
        ):
            reader, writer = await opened(server)
            writer.write(sent)
            assert answered in await asyncio.wait_for(reader.read(), 5)
            writer.close()


async def test_who_takes_nothing_is_cut_off(node):
    """A client that asks for a large answer and reads none of it holds no connection for ever; nor do too many."""
    async with node.client("admin") as client:
        asked = {"input": "a" * 7_000_000, "backend": "echo"}
        large = (await client.post("/v1/tasks", json=asked, params={"wait": 30})).json()["task"]
    async with serving(node, Limits(write_s=0.2, connections=2)) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        host, port = server.url.removeprefix("http://").split(":")
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        request = f"GET /v1/tasks/{large} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {node.token('admin')}\r\n\r\n"
        writer.write(request.encode())
        connections = server._server.server_state.connections
        while not connections:
            await asyncio.sleep(0.01)
        while connections:
            await asyncio.sleep(0.01)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(7_000_000)
        writer.close()
        several = [await opened(server) for _ in range(3)]
        with suppress(ConnectionError):
            assert await asyncio.wait_for(several[-1][0].read(), 5) == b""
        for _, writing in several:
            writing.close()


FAILURES = [
    (InvalidInput("wrong"), 400, "wrong"),
    (IllegalTransition("too late"), 409, "too late"),
    (Forgotten("ann"), 410, "ann has been forgotten"),
    (LogFull("the log is full"), 503, "the log is full"),
    (KeyError("secret detail"), 500, "the server failed at this; its log says why"),
]


@pytest.mark.parametrize(("error", "status", "said"), FAILURES)
async def test_no_error_is_shown_from_inside(error, status, said, capsys):
    """What went wrong is told by its kind; what nobody expected is in the log, and the client gets its id there."""
    counted = []

    async def fails(_scope, _receive, _send):
        raise error

    transport = httpx.ASGITransport(Edge(fails, lambda *answer: counted.append(answer[:3])))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")
    assert problem(answer, status).startswith(said)
    assert "secret detail" not in answer.text
    assert counted == [("GET", "unknown", status)]
    assert ("secret detail" in capsys.readouterr().out) == (status == 500)


def certificate(folder):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    cert, private = folder / "http.crt", folder / "http.key"
    cert.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*formats))
    return cert, private


async def test_tls(node, tmp_path):
    """With a certificate it speaks TLS alone; files that are none are refused in a line."""
    cert, key = certificate(tmp_path)
    async with serving(node, listen="localhost:0", cert=str(cert), key=str(key)) as server:
        assert server.url.startswith("https://localhost:")
        trusted = ssl.create_default_context(cafile=str(cert))
        async with httpx.AsyncClient(base_url=server.url, verify=trusted) as client:
            assert (await client.get("/livez")).text == "ok\n"
    for wrong in (tmp_path / "none", node.tokens.path):
        with pytest.raises(InvalidInput, match=r"http\.cert and http\.key can't be used"):
            async with serving(node, cert=str(wrong), key=str(key)):
                pass


async def test_the_file_of_tokens_holds_no_token(node):
    """Only its owner may read it, and there is nothing in it but hashes."""
    secret = node.token("read")
    assert secret.startswith("cbt_")
    assert len(secret) == 47
    assert node.tokens.path.stat().st_mode & 0o777 == 0o600
    assert secret not in node.tokens.path.read_text()
    assert {"name", "sha256", "scopes", "created", "expires"} == json.loads(node.tokens.path.read_text())["tokens"][
        0
    ].keys()
    with pytest.raises(InvalidInput, match="there is a token 'read' already"):
        node.tokens.create("read", ("read",), None, now())
    with pytest.raises(InvalidInput, match="no token 'gone'"):
        node.tokens.revoke("gone")
    assert not node.tokens.path.with_name("tokens.json.new").exists()
