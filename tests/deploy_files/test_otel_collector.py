"""The collectors' configuration, by a schema of the parts that are used."""

import jsonschema
import pytest
from deploy_files.reading import COMPOSE, KUBERNETES, documents, pods

FILES = [KUBERNETES / "config" / "otel-collector.yaml", COMPOSE / "config" / "otel-collector.yaml"]


def of(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT, NUMBER, TIME = (
    {"type": "string"},
    {"type": "integer", "minimum": 0},
    {"type": "string", "pattern": r"^\d+(ms|s|m)$"},
)
NAMES = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
PIPELINE = of(receivers=NAMES, processors=NAMES, exporters=NAMES) | {"required": ["receivers", "exporters"]}
SCHEMA = of(
    receivers=of(otlp=of(protocols=of(http=of(endpoint=TEXT), grpc=of(endpoint=TEXT)))),
    processors=of(
        memory_limiter=of(
            check_interval=TIME, limit_percentage=NUMBER, spike_limit_percentage=NUMBER, limit_mib=NUMBER
        ),
        batch=of(timeout=TIME, send_batch_size=NUMBER, send_batch_max_size=NUMBER),
    ),
    exporters=of(
        otlphttp=of(
            endpoint=TEXT,
            sending_queue=of(enabled={"type": "boolean"}, queue_size=NUMBER),
            retry_on_failure=of(enabled={"type": "boolean"}),
        ),
        debug=of(verbosity={"enum": ["basic", "normal", "detailed"]}),
    ),
    extensions=of(health_check=of(endpoint=TEXT)),
    service=of(extensions=NAMES, pipelines=of(traces=PIPELINE, metrics=PIPELINE, logs=PIPELINE)),
) | {"required": ["receivers", "exporters", "service"]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_it_is_a_configuration(file):
    """Nothing but what the collector knows; pipelines name parts that there are; the limiter comes first."""
    [config] = documents(file)
    jsonschema.validate(config, SCHEMA)
    assert {*config["service"].get("extensions", [])} == config.get("extensions", {}).keys()
    for pipeline in config["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert {*pipeline[part]} <= config[part].keys()
        assert pipeline["processors"][0] == "memory_limiter"


def test_its_pod_fits_it():
    """Ports that it listens on, the variable that it reads, the file that it is given."""
    [config] = documents(FILES[0])
    [pod] = [each for each in pods() if each.labels["app.kubernetes.io/component"] == "otel-collector"]
    [container] = pod.spec["containers"]
    ports = {port["containerPort"] for port in container["ports"]}
    listens = [config["receivers"]["otlp"]["protocols"]["http"], config["extensions"]["health_check"]]
    assert ports == {int(each["endpoint"].rpartition(":")[2]) for each in listens}
    variable = config["exporters"]["otlphttp"]["endpoint"].removeprefix("${env:").removesuffix("}")
    assert variable in {each["name"] for each in container["env"]}
    assert container["args"] == ["--config=/etc/otel/config.yaml"]
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/etc/otel"]
