"""The files for clusters, as the tests read them."""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE = ROOT / "deploy" / "compose"
SCHEMAS = Path(__file__).parent / "schemas"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PINNED = dict(
    line.split("==") for line in (ROOT / "deploy" / "constraints.txt").read_text().splitlines() if "==" in line
)


class Pod(NamedTuple):
    """A pod that something makes, and where that stands."""

    where: str
    template: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"]["labels"]

    @property
    def spec(self) -> dict[str, Any]:
        return self.template["spec"]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


@cache
def documents(file: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def kustomization() -> dict[str, Any]:
    return documents(KUBERNETES / "kustomization.yaml")[0]


def objects(*kinds: str) -> list[dict[str, Any]]:
    """What is applied to the cluster, of these kinds or all."""
    found = [each for name in kustomization()["resources"] for each in documents(KUBERNETES / name)]
    return [each for each in found if not kinds or each["kind"] in kinds]


def pods() -> list[Pod]:
    return [Pod(f"{each['kind']} {each['metadata']['name']}", made) for each in objects() for made in _templates(each)]


def _templates(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match made["kind"]:
        case "Deployment":
            yield made["spec"]["template"]
        case "CronJob":
            yield made["spec"]["jobTemplate"]["spec"]["template"]
        case "RayService":
            cluster = made["spec"]["rayClusterConfig"]
            yield cluster["headGroupSpec"]["template"]
            yield from (group["template"] for group in cluster["workerGroupSpecs"])


def values() -> dict[str, Any]:
    """The values for the chart of NATS."""
    return documents(KUBERNETES / "nats" / "values.yaml")[0]
