"""The files for compose, Kubernetes, Prometheus and Grafana fit their schemas and the code."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import compose_spec
import httpx
import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import REGISTRY
from starlette.routing import Route

from search.commands.dispatch import build_parser
from service import metrics
from service.routes.application import make_routes
from service.settings import PREFIX, Settings
from service.version import VERSION
from tests.live import ROOT, free_port, running, wait_until
from tests.test_bentofile import find_needed, list_pins, read_pins
from tests.test_imports import loaded_by

DEPLOY = ROOT / "deploy"


def read_manifests(name: str) -> list[dict[str, Any]]:
    """The documents of a file in kubernetes/; a workload is the first of its file."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text()))


MANIFESTS = [
    pytest.param(document, id=f"{file.stem}-{document['kind']}")
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in read_manifests(file.stem)
]


FOREIGN = {"monitoring.coreos.com", "kustomize.config.k8s.io"}
"""Groups of the Prometheus operator and of kustomize."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus is not installed"
)


def run_promtool(folder: Path, *words: str) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
    if manifest["apiVersion"].partition("/")[0] in FOREIGN:
        pytest.skip("its schema is not here")
    kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_names_what_the_service_has(manifest: dict[str, Any]) -> None:
    paths = {route.path for route in make_routes() if isinstance(route, Route)}
    assert {probe["path"] for probe in find(manifest, "httpGet")} <= paths
    for variables in find(manifest, "env"):
        names = {variable["name"] for variable in variables} - {"STORAGE", "PGPASSWORD"}
        assert names <= {PREFIX + field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("name", ["service", "search", "retrain"])
def test_a_pod_may_do_no_more_than_it_needs(name: str) -> None:
    workload, *others = read_manifests(name)
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The level "restricted" of the Pod Security Standards, and a root that cannot be written.
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    # Or the namespace's Services would set variables, which the service takes for its settings.
    assert pod["enableServiceLinks"] is False
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
    (policy,) = (other for other in others if other["kind"] == "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_a_pod_runs_as_the_user_of_its_image() -> None:
    for name, image in (
        ("service", "Dockerfile"),
        ("search", "deploy/search.Dockerfile"),
        ("retrain", "deploy/search.Dockerfile"),
    ):
        context = find(read_manifests(name), "securityContext")[0]
        user = f"USER {context['runAsUser']}:{context['runAsGroup']}"
        assert user in (ROOT / image).read_text().splitlines()


@pytest.mark.parametrize("name", ["service", "search", "retrain"])
def test_what_selects_pods_finds_those_of_its_file(name: str) -> None:
    manifests = read_manifests(name)
    labels = manifests[0]["spec"]["template"]["metadata"]["labels"]
    selected = find(manifests, "matchLabels")
    selected += [other["spec"]["selector"] for other in manifests if other["kind"] == "Service"]
    assert selected
    assert all(wanted.items() <= labels.items() for wanted in selected)


def test_the_monitor_finds_the_service() -> None:
    (monitor,) = read_manifests("monitor")
    (service,) = (made for made in read_manifests("service") if made["kind"] == "Service")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] in {route.path for route in make_routes() if isinstance(route, Route)}


def test_the_autoscaler_on_the_queue_replaces_the_one_on_the_cpu() -> None:
    (queue,) = read_manifests("queue")
    names = {
        made["metadata"]["name"]
        for made in read_manifests("service")
        if made["kind"] == queue["kind"]
    }
    assert names == {queue["metadata"]["name"]}
    (rule,) = read_adapter()
    assert rule["name"]["as"] in find(queue, "name")


def read_adapter() -> list[dict[str, Any]]:
    """The rules by which the Prometheus adapter makes metrics to scale by."""
    rules: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "adapter.yaml").read_text())["rules"][
        "custom"
    ]
    return rules


@needs_prometheus
def test_the_adapter_counts_the_requests_that_wait(tmp_path: Path) -> None:
    (rule,) = read_adapter()
    series = rule["seriesQuery"].partition("{")[0]
    assert series in known_metrics()
    query = rule["metricsQuery"]
    for field, text in {
        "<<.Series>>": series,
        "<<.LabelMatchers>>": 'namespace="a",pod=~"p|q"',
        "<<.GroupBy>>": "pod",
    }.items():
        assert field in query
        query = query.replace(field, text)
    assert set(re.findall(r"emotion_\w+", query)) <= known_metrics()
    decoding = "emotion_decode_wait_seconds_sum"
    # In each of the minute's steps of 15 s the requests of pod p waited 120 s for the network and
    # 60 s for a thread: 8 and 4 at a time.
    case = {
        "interval": "15s",
        "input_series": [
            {"series": f'{series}{{namespace="a",pod="p"}}', "values": "0+120x20"},
            {"series": f'{series}{{namespace="a",pod="q"}}', "values": "0x20"},
            {"series": f'{series}{{namespace="a",pod="other"}}', "values": "0+9x20"},
            {"series": f'{decoding}{{namespace="a",pod="p"}}', "values": "0+60x20"},
            {"series": f'{decoding}{{namespace="a",pod="q"}}', "values": "0x20"},
        ],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "5m",
                "exp_samples": [
                    {"labels": '{pod="p"}', "value": 12},
                    {"labels": '{pod="q"}', "value": 0},
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [case]}))
    run_promtool(tmp_path, "test", "rules", "test.yaml")


def test_the_grace_of_a_pod_holds_the_drain() -> None:
    pod = read_manifests("service")[0]["spec"]["template"]["spec"]
    (pre_stop,) = find(pod, "preStop")
    slept = int(pre_stop["exec"]["command"][1])
    assert slept + Settings().grace_seconds < pod["terminationGracePeriodSeconds"]


def test_the_patience_of_compose_and_make_holds_the_grace() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    (waited,) = re.findall(r"--stop-timeout (\d+) ", (ROOT / "Makefile").read_text())
    # Engines kill after 10 s by default.
    for patience in (services["emotion"]["stop_grace_period"].removesuffix("s"), waited):
        assert Settings().grace_seconds < int(patience)


def read_dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    return dashboard


def find_metrics() -> set[str]:
    """The metrics that dashboard and rules ask for."""
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    queries = " ".join(find(read_dashboard(), "expr") + find(rules, "expr"))
    return set(re.findall(r"emotion_\w+", queries))


def known_metrics() -> set[str]:
    """All that the service shows at /metrics."""
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
    return known


def test_queries_name_metrics_that_exist() -> None:
    named = find_metrics()
    assert len(named) > 10
    assert named <= known_metrics()


def test_the_dashboard_shows_the_deployments_that_are_chosen() -> None:
    chosen = {variable["name"]: variable for variable in read_dashboard()["templating"]["list"]}
    assert chosen.keys() == {"namespace", "job"}
    # Matches series that have no such label, too, as those of Compose have no namespace.
    assert {variable["allValue"] for variable in chosen.values()} == {".*"}
    for query in find(read_dashboard(), "expr"):
        selectors = re.findall(r"emotion_\w+(\{[^}]+\})?", query)
        assert selectors
        for name in chosen:
            assert all(f'{name}=~"${name}"' in selector for selector in selectors), query


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_dashboard()["panels"]:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


@needs_prometheus
def test_the_dashboards_queries_can_be_read(tmp_path: Path) -> None:
    queries = find(read_dashboard(), "expr")
    rules = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(queries)]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    run_promtool(tmp_path, "check", "rules", "rules.yaml")


def merge(old: Any, new: Any) -> Any:
    """A strategic merge: mappings by key, lists of named items by name."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merge(old.get(key), value) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        named = [{item["name"]: item for item in items} for items in (old, new)]
        return list(merge(*named).values())
    return new


def test_the_patched_deployment_is_one_for_a_gpu() -> None:
    (patch,) = read_manifests("gpu")
    patched = merge(read_manifests("service")[0], patch)
    kubernetes_validate.validate(patched, "1.30", strict=True)
    pod = patched["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {probe["path"] for probe in find(container, "httpGet")} == {"/readyz", "/livez"}
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["EMOTION_DEVICE"] == "cuda"
    assert variables["EMOTION_WORKERS"] == "1"
    # What decodes for a GPU is more than what decodes for a core.
    assert 1 < int(container["resources"]["requests"]["cpu"]) <= int(variables["EMOTION_THREADS"])
    assert container["image"] == f"facial-emotion:{VERSION}"
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_keys_come_from_a_mounted_secret() -> None:
    (patch,) = read_manifests("keys")
    patched = merge(read_manifests("service")[0], patch)
    kubernetes_validate.validate(patched, "1.30", strict=True)
    pod = patched["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (file,) = (v["value"] for v in container["env"] if v["name"] == "EMOTION_API_KEYS_FILE")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {"scratch", "keys"}
    (secret,) = find(pod, "secret")
    assert file == f"{mounts['keys']}/{secret['items'][0]['path']}"
    (reference,) = find(container, "secretKeyRef")
    assert reference["name"] == secret["secretName"]
    for key in (reference["key"], secret["items"][0]["key"]):
        assert f"={key}=" in (DEPLOY / "kubernetes" / "keys.yaml").read_text()


def test_the_ingress_asks_the_service() -> None:
    (ingress,) = read_manifests("ingress")
    (service,) = (made for made in read_manifests("service") if made["kind"] == "Service")
    (backend,) = find(ingress, "backend")
    assert backend["service"]["name"] == service["metadata"]["name"]
    assert backend["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_operators_rules_are_the_alerts() -> None:
    file = DEPLOY / "kubernetes" / "rules.yaml"
    (command,) = re.findall(r"^#   (sed .+) \| kubectl", file.read_text(), re.MULTILINE)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, check=True)
    alerts = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    assert yaml.safe_load(done.stdout)["spec"] == alerts
    assert command in (DEPLOY / "README.md").read_text()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_names_the_image_and_patches(tmp_path: Path) -> None:
    folder = shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    file = folder / "kustomization.yaml"
    offered = re.sub(r"^# (patches:|  - path)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(offered.replace("newName: facial-emotion", "newName: there/faces"))
    assert len(find(yaml.safe_load(file.read_text()), "path")) == 3
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=True
    )
    made = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert made.keys() == {document["kind"] for document in read_manifests("service")}
    (container,) = find(made["Deployment"], "containers")[0]
    assert container["image"].startswith("there/faces:")
    variables = {variable["name"] for variable in container["env"]}
    assert {"EMOTION_DEVICE", "EMOTION_THREADS", "EMOTION_ADMIN_KEY"} <= variables
    assert find(made["HorizontalPodAutoscaler"], "averageValue")


@pytest.mark.parametrize("name", ["search", "retrain"])
def test_a_job_runs_a_command_that_there_is(name: str) -> None:
    (command,) = find(read_manifests(name), "command")
    assert find(read_manifests(name), "ttlSecondsAfterFinished")
    options = build_parser().parse_args(command[command.index("search") + 1 :])
    assert options.data == Path("/data/fer2013.csv")


def test_compose_fits_the_specification() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    # It reads no variables; with their defaults.
    compose_spec.PyCompose.from_yaml(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text))
    with pytest.raises(ValueError, match="imagee"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: a, imagee: b}}")


def test_compose_mounts_files_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for volumes in find(compose["services"], "volumes"):
        for volume in volumes:
            source = re.sub(r"^\$\{\w+:-([^}]+)\}", r"\1", volume).split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
    (secret,) = compose["secrets"].values()
    assert (DEPLOY / re.sub(r"^\$\{\w+:-(.+)\}$", r"\1", secret["file"])).is_file()
    (mounted,) = find(compose["services"], "secrets")[0]
    assert mounted["source"] in compose["secrets"]
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    (key,) = find(config, "credentials_file")
    assert mounted["target"] == f"/etc/prometheus/{key}"


def test_all_of_compose_comes_back_after_a_reboot() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


def read_example(kind: str, word: str) -> str:
    """The block of deploy/README.md that has a word in it."""
    text = (DEPLOY / "README.md").read_text()
    blocks: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)
    (example,) = (block for block in blocks if word in block)
    return example


def test_the_readmes_key_is_one_for_service_and_prometheus(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$METRICS_KEY_FILE $*"\n')
    docker.chmod(0o755)
    variables = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-euc", f"umask 027; {read_example('sh', 'METRICS_KEY_FILE')}"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    named, *words = done.stdout.split()
    assert words == ["compose", "-f", "deploy/compose.yaml", "up"]
    file = Path(named)
    assert file.is_absolute()
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o700
    settings = tmp_path / "deploy" / "emotion.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    (line,) = settings.read_text().splitlines()
    name, _, key = line.partition("=")
    assert file.read_text().strip() == key
    assert Settings(**{name.removeprefix(PREFIX).lower(): key}).admin_key


@needs_prometheus
def test_prometheus_takes_the_readmes_alertmanager(tmp_path: Path) -> None:
    for name in ("alerts.yaml", "metrics.key"):
        shutil.copy(DEPLOY / name, tmp_path)
    text = (DEPLOY / "prometheus.yaml").read_text() + read_example("yaml", "alerting:")
    (tmp_path / "prometheus.yaml").write_text(text)
    run_promtool(tmp_path, "check", "config", "prometheus.yaml")


def test_compose_takes_the_image_that_make_builds() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["emotion"]
    assert service["image"] == f"facial-emotion:${{TAG:-{VERSION}}}"
    text = (ROOT / "Dockerfile").read_text()
    for name, default in service["build"]["args"].items():
        value = default.removeprefix(f"${{{name}:-").removesuffix("}")
        assert f"ARG {name}={value}\n" in text
    # Keys may stand in it.
    (file,) = service["env_file"]
    assert f"/deploy/{file['path']}\n" in (ROOT / ".gitignore").read_text()


@needs_prometheus
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yaml"),
        ("test", "rules", "alerts_test.yaml"),
        ("test", "rules", "inputs_test.yaml"),
    ],
)
def test_prometheus_takes_its_files(words: tuple[str, str, str]) -> None:
    run_promtool(DEPLOY, *words)


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    tests = [yaml.safe_load(file.read_text()) for file in DEPLOY.glob("*_test.yaml")]
    fired = {
        (case["alertname"], alert["exp_labels"].get("measure"))
        for case in (case for cases in find(tests, "alert_rule_test") for case in cases)
        for alert in case["exp_alerts"]
    }
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert fired == {(rule["alert"], rule["labels"].get("measure")) for rule in alerts}


def test_the_steps_that_an_alert_counts_are_those_of_its_group() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    (group,) = (group for group in rules["groups"] if "record" in group["rules"][0])
    tests = yaml.safe_load((DEPLOY / "inputs_test.yaml").read_text())
    # By which promtool evaluates all groups.
    assert group["interval"] == tests["evaluation_interval"]
    counted = re.findall(r"count_over_time.+ >= (\d+)", str(group))
    assert {int(steps) * int(group["interval"].removesuffix("m")) for steps in counted} == {24 * 60}


def ask_prometheus(address: str, query: str) -> list[Any]:
    """What a query finds now."""
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    result: list[Any] = answer.json().get("data", {}).get("result", [])
    return result


def read_states(address: str) -> set[tuple[str, str]]:
    """Health and state of all rules; one that records is never active."""
    groups = httpx.get(f"{address}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {(rule["health"], rule.get("state", "inactive")) for rule in rules}


@pytest.mark.slow
@needs_prometheus
def test_a_real_prometheus_scrapes_a_loaded_service(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    alerts = (DEPLOY / "alerts.yaml").read_text()
    assert "interval: 5m" in alerts
    (tmp_path / "alerts.yaml").write_text(alerts.replace("interval: 5m", "interval: 1s"))
    key = "a-key-of-some-length"
    (tmp_path / "metrics.key").write_text(f"{key}\n")
    text = (
        (DEPLOY / "prometheus.yaml")
        .read_text()
        .replace("scrape_interval: 5s", "scrape_interval: 1s\n  evaluation_interval: 1s")
    )
    face = (ROOT / "examples" / "face.png").read_bytes()
    with running({**environment, "EMOTION_WORKERS": "1", "EMOTION_API_KEYS": key}) as (service, _):
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
                    httpx.post(
                        f"{service}/predict",
                        files={"image": image},
                        headers={"X-API-Key": key},
                        timeout=60,
                    )
                query = 'sum(emotion_predictions_total{job="facial-emotion"})'
                wait_until(lambda: bool(ask_prometheus(address, f"{query} == 5")), 60)
                assert ask_prometheus(address, 'up{job="facial-emotion"} == 1')
                # Every alert's query runs on what the service really shows, and none is true.
                wait_until(lambda: read_states(address) == {("ok", "inactive")}, 20)
                for metric in find_metrics():
                    assert ask_prometheus(address, f'{{__name__="{metric}"}}'), metric
            finally:
                process.terminate()
                process.wait(20)


def read_copied(name: str) -> set[str]:
    """What a Dockerfile copies from the repository."""
    text = (ROOT / name).read_text()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    return {name for line in copies for name in line.split()}


def test_all_that_the_containers_copy_passes_the_ignore_file() -> None:
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = read_copied("Dockerfile")
    assert copied == kept
    assert read_copied("deploy/search.Dockerfile") <= kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_keeps_the_models_licence_alone(tmp_path: Path) -> None:
    (removed,) = re.findall(r"&& rm -rf (search .+)$", (ROOT / "Dockerfile").read_text(), re.M)
    for name in (
        "models/LICENSE",
        "models/compact/card.json",
        "search/study/run.py",
        "service/app.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    subprocess.run(["sh", "-c", f"rm -rf {removed}"], cwd=tmp_path, check=True)
    kept = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert kept == {"models/LICENSE", "service/app.py"}


def test_the_cpu_image_leaves_out_what_torch_alone_needs() -> None:
    (pattern,) = re.findall(r"sed -i -E '(.+)' requirements.txt", (ROOT / "Dockerfile").read_text())
    done = subprocess.run(
        ["sed", "-E", pattern, ROOT / "requirements.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    kept = {line.partition("==")[0] for line in list_pins(done.stdout)}
    pins = read_pins("requirements.txt").keys()
    assert kept <= pins
    left_out = pins - kept
    assert len(left_out) > 10
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = [text for text in project["dependencies"] if Requirement(text).name != "torch"]
    extras = project["optional-dependencies"]
    assert find_needed(others + extras["faces"] + extras["tracing"]) <= kept


def test_the_search_image_has_what_the_search_needs() -> None:
    text = (ROOT / "deploy" / "search.Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"pip install --constraint constraints.txt (.+?) +&&", text)
    installed = find_needed(line.split())
    assert not installed & {"bentoml", "onnxruntime"}
    assert installed <= read_pins("constraints.txt").keys()
    files = (file.relative_to(ROOT) for file in (ROOT / "search").rglob("[!_]*.py"))
    modules = {".".join(file.with_suffix("").parts) for file in files}
    loaded = loaded_by(", ".join(sorted(modules)))
    owners = packages_distributions()
    packages = {canonicalize_name(owner) for name in loaded for owner in owners.get(name, [])}
    # PyTorch takes the last one where it is there.
    assert packages - {"facial-emotion", "nvidia-ml-py"} <= installed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert find_needed(project["optional-dependencies"]["postgres"]) <= installed
