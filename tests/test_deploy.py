"""The files for compose, Kubernetes, Prometheus and Grafana fit their schemas and the code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY
from starlette.routing import Route

from search.__main__ import build_parser
from service import metrics
from service.routes import make_routes
from service.settings import PREFIX, Settings
from tests.live import ROOT, free_port, running, wait_until

DEPLOY = ROOT / "deploy"
MANIFESTS = [
    pytest.param(document, id=f"{file.stem}-{document['kind']}")
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]


needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus is not installed"
)


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


def find_metrics() -> set[str]:
    """The metrics that dashboard and rules ask for."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    queries = " ".join(find(dashboard, "expr") + find(rules, "expr"))
    return set(re.findall(r"emotion_\w+", queries))


def test_queries_name_metrics_that_exist() -> None:
    assert metrics.REQUESTS
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    known |= {family.name for family in REGISTRY.collect() if family.type == "gauge"}
    known |= {f"{family.name}_total" for family in REGISTRY.collect() if family.type == "counter"}
    known |= {
        f"{family.name}_{part}"
        for family in REGISTRY.collect()
        if family.type == "histogram"
        for part in ("bucket", "sum", "count")
    }
    named = find_metrics()
    assert len(named) > 10
    assert named <= known


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


@needs_prometheus
@pytest.mark.parametrize(
    "words", [("check", "config", "prometheus.yaml"), ("test", "rules", "alerts_test.yaml")]
)
def test_prometheus_takes_its_files(words: tuple[str, str, str]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    tests = yaml.safe_load((DEPLOY / "alerts_test.yaml").read_text())
    fired = {
        case["alertname"]
        for case in (case for cases in find(tests, "alert_rule_test") for case in cases)
        if case["exp_alerts"]
    }
    assert fired == set(find(rules, "alert"))


def ask_prometheus(address: str, query: str) -> list[Any]:
    """What a query finds now."""
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    result: list[Any] = answer.json().get("data", {}).get("result", [])
    return result


@pytest.mark.slow
@needs_prometheus
def test_a_real_prometheus_scrapes_a_loaded_service(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    shutil.copy(DEPLOY / "alerts.yaml", tmp_path)
    text = (
        (DEPLOY / "prometheus.yaml")
        .read_text()
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
    )
    face = (ROOT / "examples" / "face.png").read_bytes()
    with running({**environment, "EMOTION_WORKERS": "1"}) as (service, _):
        target = service.removeprefix("http://")
        assert "emotion:3000" in text
        (tmp_path / "prometheus.yaml").write_text(text.replace("emotion:3000", target))
        command = ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
        listen, address = f"--web.listen-address=127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        with subprocess.Popen(
            [*command, listen], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                for image in (*5 * [face], face[:100]):
                    httpx.post(f"{service}/predict", files={"image": image}, timeout=60)
                query = 'sum(emotion_predictions_total{job="facial-emotion"})'
                wait_until(lambda: bool(ask_prometheus(address, f"{query} == 5")), 60)
                assert ask_prometheus(address, 'up{job="facial-emotion"} == 1')
                # Every alert's query runs on what the service really shows, and none is true.
                rules = httpx.get(f"{address}/api/v1/rules").json()["data"]["groups"][0]["rules"]
                assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
                assert {rule["state"] for rule in rules} == {"inactive"}
                for metric in find_metrics():
                    assert ask_prometheus(address, f'{{__name__="{metric}"}}'), metric
            finally:
                process.terminate()
                process.wait(20)


def test_all_that_the_container_copies_passes_the_ignore_file() -> None:
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copies = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    copied = {name for line in copies for name in line.split()}
    assert copied == {name.rstrip("/") for name in kept}
    assert all((ROOT / name).exists() for name in copied)
