import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_faces, write_folder
from tests.live import ROOT


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
    rates = found["images_per_second"]
    assert found["ratio"] == pytest.approx(rates["engine"] / rates["plain"])
    assert found["share_of_matmul_peak"] > 0
