import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.profile import divide
from benchmarks.search import take_share
from search.data.faces import Faces, drop_duplicates
from tests.conftest import make_faces, write_folder
from tests.live import ROOT


def test_samples_of_the_event_loop_are_divided_by_the_innermost_known_frame() -> None:
    stacks = (
        "thread (7): MainThread;main (worker.py:1);predict (service/routes/info.py:9) 4",
        "thread (7): MainThread;predict (service/routes/info.py:9);dumps (json/__init__.py:2) 2",
        "thread (7): MainThread;look (service/routes/info.py:9);inc (prometheus_client/v.py:2) 1",
        "thread (7): MainThread;run (uvloop) 3",
        "thread (8): decode_0;load (PIL/ImageFile.py:3) 5",
    )
    assert divide("\n".join(stacks)) == {
        "routes and middlewares": 4,
        "JSON": 2,
        "metrics": 1,
        "waiting for sockets": 3,
    }


@pytest.mark.slow
def test_the_training_benchmark_compares_both_loops(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(140))
    command = [sys.executable, "-m", "benchmarks.train", "--data", str(tmp_path / "data")]
    options = ["--device", "cpu", "--rounds", "1", "--workers", "0", "--images", "130"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert min(found["images_per_second"].values()) > 0
    assert found["share_of_matmul_peak"] > 0


def test_both_ways_of_a_trial_train_on_the_same_faces_in_whole_batches() -> None:
    faces = make_faces(140)
    twice = Faces(np.concatenate([faces.images] * 2), np.concatenate([faces.labels] * 2))
    share = take_share(twice, 270)
    assert len(share) == 128
    assert len(drop_duplicates(share)) == 128
