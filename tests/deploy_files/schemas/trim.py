"""Makes a JSON schema of a CustomResourceDefinition: python trim.py CRD.yaml > SCHEMA.json."""

import json
import sys
from pathlib import Path

import yaml

DROPPED = {"description", "format", "default"}
POD = "template"


def trimmed(schema, name=""):
    """The schema without what is only for people, and strict about names."""
    if not isinstance(schema, dict):
        return schema
    if name == POD and "spec" in schema.get("properties", {}):
        return {"type": "object", "required": ["spec"]}
    found = {}
    for key, value in schema.items():
        if key in DROPPED or key.startswith("x-kubernetes-"):
            continue
        if key == "properties":
            found[key] = {each: trimmed(inner, each) for each, inner in value.items()}
        elif key in {"items", "additionalProperties"}:
            found[key] = trimmed(value)
        elif key in {"anyOf", "oneOf", "allOf"}:
            found[key] = [trimmed(each) for each in value]
        else:
            found[key] = value
    if "properties" in found and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def main(source: Path) -> None:
    versions = yaml.safe_load(source.read_text())["spec"]["versions"]
    [schema] = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1"]
    schema["properties"].pop("status", None)
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    json.dump(trimmed(schema), sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
