"""The files for compose, Kubernetes, Prometheus and Grafana fit their schemas and the code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY
from starlette.routing import Route

from search.__main__ import build_parser
from service import metrics
from service.routes import make_routes
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = [
    pytest.param(document, id=f"{file.stem}-{document['kind']}")
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]


def find(tree: Any, key: str) -> list[Any]:
    """All values of a key, at any depth."""
    if isinstance(tree, list):
        return [value for item in tree for value in find(item, key)]
    if not isinstance(tree, dict):
        return []
    own = [tree[key]] if key in tree else []
    return own + [value for item in tree.values() for value in find(item, key)]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_fits_its_schema(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "ServiceMonitor":
        assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
        assert manifest["spec"]["endpoints"][0]["path"] == "/metrics"
        return
    kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_names_what_the_service_has(manifest: dict[str, Any]) -> None:
    paths = {route.path for route in make_routes() if isinstance(route, Route)}
    assert {probe["path"] for probe in find(manifest, "httpGet")} <= paths
    for variables in find(manifest, "env"):
        names = {variable["name"] for variable in variables} - {"STORAGE"}
        assert names <= {PREFIX + field.upper() for field in Settings.model_fields}


def test_the_grace_of_a_pod_holds_the_drain() -> None:
    deployment = next(yaml.safe_load_all((DEPLOY / "kubernetes" / "service.yaml").read_text()))
    pod = deployment["spec"]["template"]["spec"]
    (pre_stop,) = find(pod, "preStop")
    slept = int(pre_stop["exec"]["command"][1])
    assert slept + Settings().grace_seconds < pod["terminationGracePeriodSeconds"]


def test_queries_name_metrics_that_exist() -> None:
    assert metrics.REQUESTS
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    known |= {f"{family.name}_total" for family in REGISTRY.collect() if family.type == "counter"}
    known |= {
        f"{family.name}_{part}"
        for family in REGISTRY.collect()
        if family.type == "histogram"
        for part in ("bucket", "sum", "count")
    }
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    queries = " ".join(find(dashboard, "expr") + find(rules, "expr"))
    named = set(re.findall(r"emotion_\w+", queries))
    assert len(named) > 10
    assert named - known <= {"emotion_queue_depth", "emotion_requests_in_progress"}


def merge(old: Any, new: Any) -> Any:
    """A strategic merge: mappings by key, lists of named items by name."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merge(old.get(key), value) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        named = [{item["name"]: item for item in items} for items in (old, new)]
        return list(merge(*named).values())
    return new


def test_the_patched_deployment_is_one_for_a_gpu() -> None:
    folder = DEPLOY / "kubernetes"
    plain = next(yaml.safe_load_all((folder / "service.yaml").read_text()))
    patched = merge(plain, yaml.safe_load((folder / "gpu.yaml").read_text()))
    kubernetes_validate.validate(patched, "1.30", strict=True)
    (container,) = patched["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {probe["path"] for probe in find(container, "httpGet")} == {"/readyz", "/livez"}
    variables = {variable["name"] for variable in container["env"]}
    assert {"EMOTION_DEVICE", "EMOTION_WORKERS"} <= variables


@pytest.mark.parametrize("name", ["search", "retrain"])
def test_a_job_runs_a_command_that_there_is(name: str) -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())
    (command,) = find(job, "command")
    options = build_parser().parse_args(command[command.index("search") + 1 :])
    assert options.data == Path("/data/fer2013.csv")


def test_compose_fits_the_specification() -> None:
    compose_spec.PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text())
    with pytest.raises(ValueError, match="imagee"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: a, imagee: b}}")


def test_compose_mounts_files_that_exist() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for volumes in find(services, "volumes"):
        for volume in volumes:
            assert (DEPLOY / volume.split(":")[0]).is_file()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_its_files() -> None:
    command = ["promtool", "check", "config", str(DEPLOY / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_that_the_container_copies_passes_the_ignore_file() -> None:
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copies = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    copied = {name for line in copies for name in line.split()}
    assert copied == {name.rstrip("/") for name in kept}
    assert all((ROOT / name).exists() for name in copied)
