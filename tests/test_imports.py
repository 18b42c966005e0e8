"""The import rule: serving never loads training code, training loads five modules of serving."""

import ast
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
    return {".".join(name.split(".")[:2]) for name in names}


def of_package(package: str, names: set[str]) -> set[str]:
    return {name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}.")}


def test_serving_imports_nothing_of_the_search() -> None:
    for file in (ROOT / "service").glob("*.py"):
        assert not of_package("search", imported_by(file)), file


def test_training_imports_only_the_contract() -> None:
    for file in (ROOT / "search").glob("*.py"):
        allowed = ALLOWED.get(file.name, CONTRACT)
        assert of_package("service", imported_by(file)) <= allowed, file


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


@pytest.mark.parametrize("module", ["search.__main__", "search.retrain", "search.evaluate"])
def test_training_loads_only_the_contract(module: str) -> None:
    loaded = loaded_by(module)
    assert of_package("service", loaded) <= CONTRACT
    assert not loaded & {"bentoml", "pydantic", "starlette"}
