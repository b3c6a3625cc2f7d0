"""Settings for clusters are read by Callboard's own reader, and what they name is where the files put it."""

import re
from pathlib import Path, PurePosixPath

import pytest
from deploy_files.reading import COMPOSE, KUBERNETES, documents, objects, pods, values

from callboard.deploy import settings
from callboard.deploy.settings_file import load

FILES = {"kubernetes": KUBERNETES / "config" / "callboard.toml", "compose": COMPOSE / "config" / "callboard.toml"}


@pytest.fixture(params=FILES)
def loaded(request):
    """The settings in one of the files."""
    return request.param, load(FILES[request.param])


def test_they_are_read(loaded):
    """Without a mistake; three copies, over TLS, with a key, synced as the servers do it."""
    _, found = loaded
    assert found.nats.url.count("tls://") == found.nats.replicas == 3
    assert found.nats.credentials
    assert found.nats.ca
    assert found.backends


def test_streams_fit_their_volumes():
    """The server sets aside what three streams may grow to."""
    text = FILES["kubernetes"].read_text()
    limit = int(re.search(r'max_bytes = "(\d+)GB"', text)[1]) * 10**9
    size = int(values()["config"]["jetstream"]["fileStore"]["pvc"]["size"].removesuffix("Gi")) * 2**30
    assert 3 * limit < size * 0.9


def test_files_are_where_they_are_mounted(loaded):
    """Every path in the settings lies in something that is mounted there."""
    where, found = loaded
    named = [found.data, found.nats.credentials, found.nats.ca, found.audit.key, found.privacy.master_key_file]
    if where == "kubernetes":
        needs = {"ray": [*named, found.ray.secrets], "http": [*named[:3], named[4], found.http.tokens]}
        for pod in pods():
            mounts = [each["mountPath"] for each in pod.spec["containers"][0].get("volumeMounts", [])]
            for path in needs.get(pod.labels["app.kubernetes.io/component"], []):
                assert any(PurePosixPath(path).is_relative_to(mount) for mount in mounts), (pod.where, path)
    else:
        node = documents(COMPOSE / "compose.yaml")[0]["services"]["node"]
        mounts = [each.split(":")[1] for each in node["volumes"]] + [each.partition(":")[0] for each in node["tmpfs"]]
        for path in [*named, found.http.tokens]:
            assert any(PurePosixPath(path).is_relative_to(mount) for mount in mounts), path


def test_http_is_where_it_is_looked_for(loaded):
    """Ports of the pod, of what is published and of what is scraped."""
    where, found = loaded
    port = int(found.http.listen.rpartition(":")[2])
    if where == "kubernetes":
        [pod] = [each for each in pods() if each.labels["app.kubernetes.io/component"] == "http"]
        assert pod.spec["containers"][0]["ports"] == [{"name": "http", "containerPort": port}]
        assert pod.spec["terminationGracePeriodSeconds"] > found.http.drain_ns / 1e9 + 10
        [service] = objects("RayService")
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            assert group["template"]["spec"]["terminationGracePeriodSeconds"] > found.ray.drain_ns / 1e9 + 10
    else:
        assert documents(COMPOSE / "compose.yaml")[0]["services"]["node"]["ports"] == [f"127.0.0.1:{port}:{port}"]
        [job] = documents(COMPOSE / "config" / "prometheus.yml")[0]["scrape_configs"]
        assert job["static_configs"] == [{"targets": [f"node:{port}"]}]


def test_variables_are_looked_at_by_somebody():
    """Each variable that a file sets for a node is one that Callboard, OpenTelemetry or Ray reads."""
    code = "".join(path.read_text() for path in (Path(settings.__file__).parent).rglob("*.py"))
    node = documents(COMPOSE / "compose.yaml")[0]["x-node"]["environment"]
    names = {*node, *(each["name"] for pod in pods() for box in pod.containers for each in box.get("env", []))}
    for name in names - {"HOME", "GOMEMLIMIT", "OTLP_UPSTREAM"}:
        assert name in code or re.match(r"RAY_USAGE_STATS_ENABLED|OTEL_SERVICE_NAME", name), name
