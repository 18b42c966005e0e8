"""The import rule: serving never loads training code, training loads five modules of serving."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACT = {f"service.{name}" for name in ("labels", "preprocess", "network", "artifact", "device")}
ALLOWED = {"publish.py": CONTRACT | {"service.inference.store"}}
"""The one command that uses the service itself: it fills the store."""
TOPS = {"service.app", "search.__main__"}
"""What puts all together."""


def imported_by(file: Path) -> set[str]:
    """The modules that a file imports anywhere in it; of ours no more than the module's name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module_of(name) for name in names}


def module_of(name: str) -> str:
    """Without the names of what is in the module, where it is one of ours."""
    parts = name.split(".")
    while len(parts) > 1 and not ROOT.joinpath(*parts).with_suffix(".py").is_file():
        parts.pop()
    return ".".join(parts) if len(parts) > 1 else name


def of_package(package: str, names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{package}.")}


def test_serving_imports_nothing_of_the_search() -> None:
    for file in (ROOT / "service").rglob("*.py"):
        assert not of_package("search", imported_by(file)), file


def test_training_imports_only_the_contract() -> None:
    for file in (ROOT / "search").rglob("*.py"):
        allowed = ALLOWED.get(file.name, CONTRACT)
        assert of_package("service", imported_by(file)) <= allowed, file


@pytest.mark.parametrize("name", ["service", "search"])
def test_a_package_uses_itself_and_those_before_it(name: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text()))
    layers = re.findall("^- `(.+)`:", text or "", re.M)
    assert sorted(layers) == sorted(file.parent.name for file in ROOT.glob(f"{name}/*/__init__.py"))
    for place, layer in enumerate(layers):
        later = tuple(f"{name}.{other}." for other in layers[place + 1 :])
        for file in (ROOT / name / layer).glob("*.py"):
            assert not [used for used in imported_by(file) if used.startswith(later)], file
            assert not imported_by(file) & TOPS, file


@pytest.mark.parametrize("name", ["service", "search"])
def test_what_stands_beside_the_packages_uses_none_of_them(name: str) -> None:
    packages = tuple(f"{name}.{file.parent.name}." for file in ROOT.glob(f"{name}/*/__init__.py"))
    for file in ROOT.glob(f"{name}/*.py"):
        if f"{name}.{file.stem}" not in TOPS | {"search.config"}:
            assert not [used for used in imported_by(file) if used.startswith(packages)], file


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_serving_never_loads_search() -> None:
    loaded = loaded_by(
        "service.routes.application, service.inference.predictor, service.inference.store"
    )
    assert not {
        name for name in loaded if name.split(".")[0] in ("search", "optuna", "torchvision")
    }


@pytest.mark.parametrize(
    "module", ["search.__main__", "search.retraining.retrain", "search.evaluation.evaluate"]
)
def test_training_loads_only_the_contract(module: str) -> None:
    loaded = loaded_by(module)
    assert of_package("service", loaded) <= CONTRACT
    assert not loaded & {"bentoml", "pydantic", "starlette"}
