"""The import rule: serving never loads training code, training loads five modules of serving."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACT = {"labels", "preprocess", "network", "artifact", "device"}
ALLOWED = {"publish.py": CONTRACT | {"store"}}
"""The one command that uses the service itself: it fills the store."""


def imported_by(file: Path) -> set[str]:
    """All that a file imports anywhere in it, as `package.module` where it is one of ours."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def of_package(package: str, names: set[str]) -> set[str]:
    """The first names below a package."""
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def test_serving_imports_nothing_of_the_search() -> None:
    for file in (ROOT / "service").rglob("*.py"):
        assert not of_package("search", imported_by(file)), file


def test_training_imports_only_the_contract() -> None:
    for file in (ROOT / "search").rglob("*.py"):
        allowed = ALLOWED.get(file.name, CONTRACT)
        assert of_package("service", imported_by(file)) <= allowed, file


def test_a_package_of_the_search_uses_itself_and_those_before_it() -> None:
    layers = re.findall("^- `(.+)`:", ast.get_docstring(search_layers()) or "", re.M)
    packages = {file.parent.name for file in (ROOT / "search").glob("*/__init__.py")}
    assert sorted(layers) == sorted(packages)
    for place, layer in enumerate(layers):
        for file in (ROOT / "search" / layer).glob("*.py"):
            used = of_package("search", imported_by(file)) & packages
            assert used <= set(layers[: place + 1]), file


def search_layers() -> ast.Module:
    return ast.parse((ROOT / "search" / "__init__.py").read_text())


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_serving_never_loads_search() -> None:
    loaded = loaded_by("service.routes, service.predictor, service.store")
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
