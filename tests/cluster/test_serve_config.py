"""What the RayService hands to Serve, by Ray's own schema; and the ports that Ray uses by itself."""

import json
import subprocess
import sys

import pytest
import yaml
from deploy_files.reading import objects, pods

pytest.importorskip("callboard.deploy.ray")
pytestmark = pytest.mark.cluster

ASK = """
import json, sys
from ray._private import ray_constants as ray
from ray.serve.schema import ServeDeploySchema
config = ServeDeploySchema.model_validate(json.load(sys.stdin))
[app] = config.applications
module, name = app.import_path.split(":")
assert callable(getattr(__import__(module, fromlist=[name]), name))
print(json.dumps({
    "import_path": app.import_path, "args": app.args, "prefix": app.route_prefix, "proxies": config.proxy_location,
    "ports": [ray.DEFAULT_PORT, ray.DEFAULT_DASHBOARD_PORT, ray.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT],
}, default=str))
"""


def test_serve_takes_it():
    """It is an application of ours, no HTTP goes through Ray, and probes and policies know Ray's ports."""
    [service] = objects("RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(config), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["import_path"] == "callboard.deploy.ray.app:build"
    assert told["args"] == {"config": "/etc/callboard/settings/callboard.toml"}
    assert told["prefix"] is None
    assert "Disabled" in told["proxies"]
    head, worker = (each for each in pods() if each.labels["app.kubernetes.io/component"] == "ray")
    gcs, dashboard, agent = told["ports"]
    assert {gcs, dashboard, agent} <= {port["containerPort"] for port in head.spec["containers"][0]["ports"]}
    for pod in (head, worker):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert pod.spec["containers"][0][probe]["httpGet"]["port"] == agent
