"""The import rule: serving never loads training code, training loads five modules of serving."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACT = {"labels", "preprocess", "network", "artifact", "device"}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_serving_never_loads_search() -> None:
    loaded = loaded_by("service.routes, service.predictor")
    assert not {
        name for name in loaded if name.split(".")[0] in ("search", "optuna", "torchvision")
    }


@pytest.mark.parametrize("module", ["search.__main__", "search.retrain", "search.evaluate"])
def test_training_loads_only_the_contract(module: str) -> None:
    loaded = loaded_by(module)
    served = {name.removeprefix("service.") for name in loaded if name.startswith("service.")}
    assert served <= CONTRACT
    assert not loaded & {"bentoml", "pydantic", "starlette"}
