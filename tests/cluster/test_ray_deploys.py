"""Deploying on Ray, and deploying anew while tasks flow; one Ray for all of it, in the order of the file."""

import asyncio
import json
from collections import Counter

import pytest
from servers import nats_binary
from servers.places import OnRay

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SECRET = "sk-of-nobody-0123456789"
FLOW = 40
SETTINGS = """
[nats]
url = "{url}"
[telemetry]
traces = "off"
[ray]
drain = "10s"

[backends.slow]
provider = "callable"
function = "callable_backends:slow"
price = {{ input = 1, output = 1 }}

[backends.hosted]
provider = "openai"
model = "m"
capabilities = ["hosted"]
api_key_env = "KEY_OF_NOBODY"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a NATS server; Ray is started by the first who deploys."""
    asyncio.run(nats_binary.needed())
    place = OnRay(tmp_path_factory.mktemp("place"))
    place.settings = SETTINGS
    place.serve_nats()
    try:
        yield place
    finally:
        place.close()


def change(place, before: str, after: str) -> None:
    """Change the settings."""
    assert before in place.settings
    place.settings = place.settings.replace(before, after)
    place.settle()


def deployed(place) -> dict[str, dict]:
    """What runs, by deployment."""
    return {each["deployment"]: each for each in json.loads(place.deploy("status", "--json"))["deployments"]}


def pids(place) -> dict[str, set[int]]:
    """The processes of each deployment."""
    return {name: {replica["pid"] for replica in each["replicas"]} for name, each in deployed(place).items()}


async def flow(place, deploy) -> Counter[str]:
    """What comes of tasks that are under way while it is deployed anew."""
    async with place.board() as board:
        handles = [await board.submit(f"count {number}", backend="slow") for number in range(FLOW)]
        deploying = asyncio.create_task(asyncio.to_thread(deploy))
        outcomes = [await handle.result(60) for handle in handles]
        while not deploying.done():
            outcomes.append(await (await board.submit("count", backend="slow")).result(60))
        await deploying
    started = Counter(outcome.calls for outcome in outcomes)
    assert started == {1: len(outcomes)}, "a call was made twice"
    return Counter(outcome.output for outcome in outcomes)


def test_nothing_runs_yet(place):
    """Who looks is told how to begin, and who deploys without NATS or Ray what is missing: in one line."""
    for args, said in (
        (("status",), "none was started here"),
        (("up", "--ray", "--url", "nats://127.0.0.1:1"), "can't reach NATS"),
    ):
        told = place.deploy(*args, code=3)
        assert said in told
        assert told.count("\n") == 1
    change(place, "[ray]", '[ray]\naddress = "127.0.0.1:1"')
    assert "Ray can't be reached at 127.0.0.1:1" in place.deploy("up", "--ray", code=3)
    change(place, 'address = "127.0.0.1:1"\n', "")


def test_a_replica_without_its_key_is_told_of(place):
    """In one line, which names the backend and the variable."""
    told = place.deploy("up", "--ray", "--timeout", "90s", code=1)
    assert "backend-hosted: " in told
    assert "the environment has no KEY_OF_NOBODY" in told
    assert told.count("\n") == 1


def test_keys_come_from_files(place):
    """From a folder with a file for each variable; they are in nothing that is told to Ray."""
    (place.path / "secrets").mkdir()
    (place.path / "secrets" / "KEY_OF_NOBODY").write_text(SECRET + "\n")
    change(place, "[ray]", f'[ray]\nsecrets = "{place.path}/secrets"')
    up = json.loads(place.deploy("up", "--ray", "--json"))
    assert {each["deployment"]: each["running"] for each in up["deployments"]} == {
        "control": 1, "router": 1, "backend-slow": 1, "backend-hosted": 1,
    }  # fmt: skip
    config = place.deploy("config")
    assert "KEY_OF_NOBODY" in config
    assert SECRET not in config
    assert SECRET not in place.deploy("status", "--json")


def test_changed_settings_are_told_to_whom_they_concern(place):
    """Their replica ends its calls and goes on as it is told, in the same process; the others notice nothing."""
    before = pids(place)
    change(place, "output = 1 }}", "output = 3 }}")
    assert asyncio.run(flow(place, lambda: place.deploy("up", "--ray"))).keys() == {"one two three"}
    assert pids(place) == before
    [row] = [row for row in place.json("backends") if row["backend"] == "slow"]
    assert row["price"]["output"] == 3_000_000


def test_changed_code_replaces_replicas(place):
    """The new one begins, the old one ends its calls; nothing is lost or done twice."""
    before = pids(place)
    file = place.path / "callable_backends.py"
    file.write_text(file.read_text().replace('"three"', '"four"'))
    answers = asyncio.run(flow(place, lambda: place.deploy("up", "--ray")))
    assert answers.keys() <= {"one two three", "one two four"}
    after = pids(place)
    assert {name for name in after if after[name] != before[name]} == {"backend-slow"}
    assert place.json("submit", "count", "--backend", "slow")["output"] == "one two four"


def test_what_can_not_be_done_is_told_and_mended(place):
    """A replica that can't become what it is told to be is given up; with the settings mended, there is one again."""
    change(place, "KEY_OF_NOBODY", "ANOTHER_KEY")
    assert "the environment has no ANOTHER_KEY" in place.deploy("up", "--ray", "--timeout", "90s", code=1)
    change(place, "ANOTHER_KEY", "KEY_OF_NOBODY")
    place.deploy("up", "--ray")
    assert deployed(place)["backend-hosted"]["running"] == 1


def test_replicas_stay_as_many_as_the_log_wants(place):
    """A deployment anew does not bring back what is configured; those that stay are left alone."""
    place.call("scale", "slow", "3")
    wanted = place.json("backends")
    while deployed(place)["backend-slow"]["running"] != 3:
        pass
    before = pids(place)["backend-slow"]
    change(place, "output = 3 }}", "output = 4 }}")
    place.deploy("up", "--ray")
    assert pids(place)["backend-slow"] == before
    assert len(before) == 3
    assert [row["replicas"] for row in place.json("backends")] == [row["replicas"] for row in wanted]


def test_a_backend_that_is_not_configured_any_more_leaves_the_board(place):
    """Its deployment ends, and the router gives it nothing."""
    change(place, place.settings[place.settings.index("[backends.hosted]") :], "")
    place.deploy("up", "--ray")
    assert deployed(place).keys() == {"control", "router", "backend-slow"}
    assert [row["backend"] for row in place.json("backends")] == ["slow"]
