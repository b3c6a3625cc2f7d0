"""Who may talk to whom in the cluster: what is needed is let through, on both sides, and nothing else."""

import pytest
from deploy_files.reading import objects, pods, values

NATS = {"app.kubernetes.io/name": "nats", "app.kubernetes.io/component": "nats"}
PODS = {pod.labels["app.kubernetes.io/component"]: pod.labels for pod in pods()} | {"nats": NATS}
OUTSIDE = ("monitoring", "ingress-nginx", "kuberay-operator", "observability", "kube-system", "elsewhere")

LET_THROUGH = {
    *((who, "nats", 4222) for who in ("ray", "http", "backup")),
    ("nats", "nats", 6222),
    *(("ray", "ray", port) for port in (6379, 8265, 10001, 52365, 45123)),
    *((who, "otel-collector", 4318) for who in ("ray", "http")),
    ("kuberay-operator", "ray", 8265),
    ("kuberay-operator", "ray", 52365),
    ("ingress-nginx", "http", 8080),
    ("monitoring", "http", 8080),
    ("monitoring", "nats", 7777),
    ("otel-collector", "observability", 4318),
    *((who, "kube-system", 53) for who in PODS),
}
PORTS = sorted({port for _, _, port in LET_THROUGH} | {22, 443, 8222})


def matches(selector, labels) -> bool:
    same = selector.get("matchLabels", {}).items() <= labels.items()
    return same and all(
        labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
        if each["operator"] == "In"
    )


def is_peer(peer, who: str) -> bool:
    if "ipBlock" in peer:
        return False  # of addresses, which pods and namespaces are not told by here
    if "namespaceSelector" in peer:
        return peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == who
    return who in PODS and matches(peer["podSelector"], PODS[who])


def lets(direction: str, pod: str, other: str, port: int) -> bool:
    """Whether any policy lets a pod's traffic through."""
    if pod not in PODS:
        return True  # other namespaces have policies of their own
    for policy in objects("NetworkPolicy"):
        spec = policy["spec"]
        if direction.capitalize() not in spec["policyTypes"] or not matches(spec["podSelector"], PODS[pod]):
            continue
        for rule in spec.get(direction, []):
            peers = rule["from" if direction == "ingress" else "to"]
            ports = {each["port"] for each in rule.get("ports", [])}
            if any(is_peer(peer, other) for peer in peers) and (not ports or port in ports):
                return True
    return False


@pytest.mark.parametrize("port", PORTS)
def test_what_is_let_through(port):
    """Every pair of who there is, in both directions: on this port just the ones that have to."""
    everybody = (*PODS, *OUTSIDE)
    found = {
        (one, other, port)
        for one in everybody
        for other in everybody
        if (one in PODS or other in PODS) and lets("egress", one, other, port) and lets("ingress", other, one, port)
    }
    assert found == {each for each in LET_THROUGH if each[2] == port} | {
        ("ray", "ray", port)  # its workers choose their ports
    }


def test_all_else_is_denied():
    """One policy selects every pod, for both directions, and lets nothing through."""
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in [
        policy["spec"] for policy in objects("NetworkPolicy")
    ]


def test_models_are_reached_and_no_cloud_credentials():
    """Ray's pods may call addresses over TLS, but not those of the cloud's metadata; nobody else may."""
    blocks = {
        policy["metadata"]["name"]: (peer["ipBlock"], rule["ports"])
        for policy in objects("NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    }
    assert blocks == {"ray": ({"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}, [{"protocol": "TCP", "port": 443}])}


def test_ports_are_those_of_the_pods():
    """What a policy opens on a pod, the pod listens on."""
    listened = {
        pod.labels["app.kubernetes.io/component"]: {
            port["containerPort"] for container in pod.spec["containers"] for port in container.get("ports", [])
        }
        for pod in pods()
        if pod.spec["containers"][0]["name"] != "ray-worker"
    }
    listened["nats"] = {4222, 6222, values()["promExporter"]["port"]}
    for pod, ports in listened.items():
        opened = {port for _, who, port in LET_THROUGH if who == pod} - {45123}
        assert opened - ports == set()
