"""`callboard tokens`, and a node whose command line says where it serves HTTP."""

import signal

import httpx
import pytest
from servers.working_directory import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_the_life_of_a_token(folder):
    """Made and shown once, listed without its secret, revoked; each mistake is one line."""
    made = folder.call("tokens", "create", "ci", "--scope", "submit", "--scope", "read", "--expires", "30d")
    secret = made.stdout.strip()
    assert secret.startswith("cbt_")
    assert "shown once" in made.stderr
    [listed] = folder.json("tokens")
    assert (listed["name"], listed["scopes"]) == ("ci", ["submit", "read"])
    assert listed["expires"] > listed["created"]
    document = folder.json("tokens", "create", "ops", "--scope", "admin")
    assert document.keys() == {"name", "token", "scopes", "created", "expires"}
    shown = folder.call("tokens", "list").stdout
    assert "submit, read" in shown
    assert "never" in shown
    assert secret not in shown
    assert "already: revoke it first" in folder.call("tokens", "create", "ci", "--scope", "read", code=1).stderr
    assert folder.json("tokens", "revoke", "ci") == {"name": "ci"}
    assert "no token 'ci'" in folder.call("tokens", "revoke", "ci", code=1).stderr
    folder.call("tokens", "create", "x", code=2)
    folder.call("tokens", "create", "x", "--scope", "everything", code=2)
    assert "is not valid" in folder.call("tokens", "create", "a.b", "--scope", "read", code=1).stderr


def test_a_node_says_where_it_serves_http(folder):
    """`--listen` comes before the settings; it ends well while a client is connected."""
    secret = folder.call("tokens", "create", "ci", "--scope", "admin").stdout.strip()
    assert "--listen must be like" in folder.call("up", "--listen", "8080", code=1).stderr
    assert "nowhere to listen" in folder.call("up", "--role", "http", code=1).stderr
    node, told = folder.serve("up", "--listen", "127.0.0.1:0")
    try:
        headers = {"authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=told["http"], headers=headers, verify=False, timeout=20) as client:
            answer = client.post("/v1/tasks", params={"wait": 20}, json={"input": "hello", "backend": "echo"})
            assert answer.json()["output"] == "HELLO"
            node.send_signal(signal.SIGTERM)
            assert node.wait(20) == 0
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
    assert "Traceback" not in (folder.path / "up.err").read_text()
