"""What is applied to a cluster: by the schemas of those who take it, and what its parts say of each other."""

import json
from pathlib import PurePosixPath

import jsonschema
import kubernetes_validate
import pytest
from deploy_files.reading import KUBERNETES, PINNED, ROOT, SCHEMAS, VERSION, documents, kustomization, objects, pods

CUSTOM = {"RayService": "rayservice.json", "ServiceMonitor": "servicemonitor.json"}
TOLD = "deploy/OPERATIONS.md"
MADE_BY_OTHERS = {"callboard-http-tls"}
"""Secrets that need not be made by hand: the certificate of the ingress, by whoever gives certificates out."""


def called(value) -> str:
    return f"{value['kind']}-{value['metadata']['name']}" if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("made", objects(), ids=called)
def test_each_object_is_one_of_its_kind(made):
    """By the schemas of Kubernetes, KubeRay and the Prometheus operator; a name that they don't know is an error."""
    if made["kind"] in CUSTOM:
        schema = json.loads((SCHEMAS / CUSTOM[made["kind"]]).read_text())
        jsonschema.Draft7Validator(schema).validate(made)
    else:
        kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod.where)
def test_each_pod_is_one(pod):
    """Also those inside of a RayService."""
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": pod.template}
    kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_name_is_found():
    """The schemas are strict, those of others too."""
    [service] = objects("RayService")
    wrong = service | {"spec": service["spec"] | {"serveConfig": ""}}
    with pytest.raises(jsonschema.ValidationError, match="serveConfig"):
        jsonschema.Draft7Validator(json.loads((SCHEMAS / "rayservice.json").read_text())).validate(wrong)
    [claim] = objects("PersistentVolumeClaim")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(claim | {"sepc": {}}, kubernetes_validate.latest_version(), strict=True)


def test_everything_is_applied():
    """Every file is in the kustomization, and every ConfigMap is made of a file that is there."""
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == {*kustomization()["resources"], *kustomization()["configurations"]}
    for made in kustomization()["configMapGenerator"]:
        for each in made["files"]:
            assert (KUBERNETES / each.partition("=")[2]).is_file()


def test_config_maps_are_found_by_their_new_names():
    """Kustomize is told of every place in a RayService where one is named."""
    [reference] = documents(KUBERNETES / "kustomizeconfig.yaml")[0]["nameReference"]
    [service] = objects("RayService")
    cluster = service["spec"]["rayClusterConfig"]
    assert {field["path"].split("/")[2] for field in reference["fieldSpecs"]} == {
        name for name, part in cluster.items() if "configMap" in json.dumps(part)
    }


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod.where)
def test_a_pod_needs_nothing_that_is_not_there(pod):
    """ConfigMaps and claims are made here, secrets are told of in the operations page, mounts are of volumes."""
    config_maps = {made["name"]: made["files"] for made in kustomization()["configMapGenerator"]}
    claims = {each["metadata"]["name"] for each in objects("PersistentVolumeClaim")}
    operations = (ROOT / TOLD).read_text()
    volumes = {each["name"]: each for each in pod.spec["volumes"]}
    for volume in volumes.values():
        match volume:
            case {"configMap": {"name": name}}:
                assert name in config_maps
            case {"secret": {"secretName": name}}:
                assert f"secret generic {name}" in operations
            case {"persistentVolumeClaim": {"claimName": name}}:
                assert name in claims
            case _:
                assert "sizeLimit" in volume["emptyDir"], "a pod could fill its node's disk"
    used = {mount["name"] for container in pod.containers for mount in container["volumeMounts"]}
    assert used == volumes.keys()
    assert pod.spec["serviceAccountName"] in {each["metadata"]["name"] for each in objects("ServiceAccount")}


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod.where)
def test_a_pod_may_do_little(pod):
    """As Kubernetes' restricted standard wants it, with a root file system that nobody writes to, and within bounds."""
    assert pod.spec["securityContext"]["runAsNonRoot"]
    assert pod.spec["securityContext"]["runAsUser"] > 0
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["automountServiceAccountToken"] is False
    for container in pod.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        image, _, tag = container["image"].partition(":")
        assert tag not in {"", "latest"}
        assert image != "callboard" or tag == VERSION
    if not pod.where.startswith("CronJob"):
        for container in pod.spec["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_no_secret_is_written_down():
    """They are referred to, never given."""
    assert not objects("Secret")
    for pod in pods():
        for container in pod.containers:
            for variable in container.get("env", []):
                assert not any(word in variable["name"] for word in ("KEY", "TOKEN", "PASSWORD", "SECRET"))


def test_services_reach_their_pods():
    """Selectors match, ports have the names that pods give them, and whoever names a service names its port."""
    for service in objects("Service"):
        [pod] = [each for each in pods() if service["spec"]["selector"].items() <= each.labels.items()]
        named = {port["name"] for container in pod.spec["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    ports = {
        (each["metadata"]["name"], port["name"]): port["port"]
        for each in objects("Service")
        for port in each["spec"]["ports"]
    }
    [ingress] = objects("Ingress")
    for rule in ingress["spec"]["rules"]:
        assert rule["host"] in ingress["spec"]["tls"][0]["hosts"]
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            assert (backend["name"], backend["port"]["name"]) in ports
    [monitor] = objects("ServiceMonitor")
    [watched] = [
        each
        for each in objects("Service")
        if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    assert watched["metadata"]["name"] == "callboard", "the job that alerts and the dashboard are about"
    assert {(watched["metadata"]["name"], each["port"]) for each in monitor["spec"]["endpoints"]} <= ports.keys()
    credentials = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert f"secret generic {credentials['name']} --from-file={credentials['key']}=" in (ROOT / TOLD).read_text()
    collector = {f"http://{name}:{port}" for (name, _), port in ports.items() if name == "otel-collector"}
    told = {
        each["value"]
        for pod in pods()
        for container in pod.containers
        for each in container.get("env", [])
        if each["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    }
    assert told == collector


def test_disruption_budgets_are_about_pods():
    """Each is about pods that there are; everything of which there are several has one."""
    chosen = set()
    for budget in objects("PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        found = {pod.where for pod in pods() if wanted <= pod.labels.items()}
        assert found
        chosen |= found
    assert chosen == {pod.where for pod in pods() if not pod.where.startswith("CronJob")}


def test_ray_is_as_its_versions_are():
    """The token is asked for, the version is the one that is tested, and the settings are where the pods have them."""
    [service] = objects("RayService")
    cluster = service["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "callboard-ray-token"}
    assert "secret generic callboard-ray-token --from-literal=auth_token=" in (ROOT / TOLD).read_text()
    assert cluster["rayVersion"] == PINNED["ray"]
    ray = [pod for pod in pods() if pod.labels["app.kubernetes.io/component"] == "ray"]
    [settings] = [made for made in kustomization()["configMapGenerator"] if made["name"] == "callboard-settings"]
    file = settings["files"][0].partition("=")[0]
    for pod in ray:
        mounts = {mount["name"]: mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"]}
        assert f"config: {PurePosixPath(mounts['settings'], file)}\n" in service["spec"]["serveConfigV2"]
