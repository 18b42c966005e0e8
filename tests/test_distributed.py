"""One run on two processes, started by torchrun as a user starts it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_faces, write_folder

RUN = """
import sys
from dataclasses import replace
from pathlib import Path

import torch

from search.config import RECIPES
from search.training.distributed import processes
from search.retraining.retrain import retrain
from tests.conftest import TINY

recipe = replace(RECIPES["modern"], epochs=2, batch_size=16, sizes=((1.0, 48),))
device = torch.device("cpu")
with processes(device):
    data, out = map(Path, sys.argv[1:])
    retrain(data, TINY, recipe, out, name="tiny", seed=0, device=device)
"""


def read_losses(out: Path) -> list[list[float]]:
    with (out / "artifact" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [[float(row[name]) for name in ("loss", "validation_loss")] for row in rows]


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(140))
    write_folder(tmp_path / "data", "validation", make_faces(35, seed=1))
    script = tmp_path / "run.py"
    script.write_text(RUN)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", []), ("two", torchrun)):
        command = [sys.executable, *start, script, tmp_path / "data", tmp_path / name]
        environment = os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            list(map(str, command)),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "deprecated" not in done.stderr
    one, two = read_losses(tmp_path / "one"), read_losses(tmp_path / "two")
    np.testing.assert_allclose(one, two, rtol=1e-3)
