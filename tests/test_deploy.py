"""The deployment examples fit the schemas of those who read them, and ask for a token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?([KMGT]i|[mkMGT])?$"},
}


def closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    """An object with these properties and no other: Kubernetes drops what a schema does not name."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


CONTAINER = closed(
    ("name", "image"),
    name=NAME,
    image={"type": "string"},
    resources=closed((), limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=listed(closed(("name", "mountPath"), name=NAME, mountPath={"type": "string"})),
)
CLAIM = closed(("claimName",), claimName=NAME)
POD = closed(
    ("containers",),
    containers=listed(CONTAINER),
    volumes=listed(closed(("name",), name=NAME, persistentVolumeClaim=CLAIM)),
)
GROUP = {"rayStartParams": TEXTS, "template": closed(("spec",), spec=POD)}
COUNT = {"type": "integer", "minimum": 0}
RAY_CLUSTER = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=closed(("name",), name=NAME),
    spec=closed(
        ("headGroupSpec",),
        rayVersion={"type": "string"},
        authOptions=closed((), mode={"enum": ["disabled", "token"]}),
        headGroupSpec=closed(("template",), **GROUP),
        workerGroupSpecs=listed(
            closed(
                ("groupName", "minReplicas", "maxReplicas", "template"),
                **GROUP,
                groupName=NAME,
                replicas=COUNT,
                minReplicas=COUNT,
                maxReplicas=COUNT,
            )
        ),
    ),
)
"""What the custom resource of KubeRay 1.7.0 says of the fields that the example uses, and of no others."""


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8"))


def test_the_cluster_launcher_takes_the_example() -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    cluster = read("cluster.yaml")
    jsonschema.validate(cluster, schema)
    starts = [cluster[f"{node}_start_ray_commands"][-1] for node in ("head", "worker")]
    assert all(command.startswith("RAY_AUTH_MODE=token ray start ") for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_kuberay_takes_the_example() -> None:
    cluster = read("raycluster.yaml")
    jsonschema.validate(cluster, RAY_CLUSTER)
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    assert {container["volumeMounts"][0]["mountPath"] for container in containers} == {"/shared"}
    assert {container["image"] for container in containers} == {f"affect:{cluster['spec']['rayVersion']}"}


@pytest.mark.parametrize(("place", "value"), [("authOption", {"mode": "token"}), ("authOptions", {"mode": "tokens"})])
def test_mistakes_are_seen(place: str, value: dict[str, str]) -> None:
    cluster = read("raycluster.yaml")
    cluster["spec"][place] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, RAY_CLUSTER)


def test_versions_are_those_of_the_release() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert read("raycluster.yaml")["spec"]["rayVersion"] == pinned["ray"]
