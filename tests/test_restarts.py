import logging
import os
import shutil
import signal
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from service.log import LOG
from service.server.restarts import note_start
from tests.live import run_tool, running, wait_until
from tests.test_faults import read_metric, workers


def restarts() -> float:
    return REGISTRY.get_sample_value("emotion_worker_restarts_total") or 0.0


def test_only_who_comes_back_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = restarts()
    LOG.propagate = True
    with caplog.at_level(logging.ERROR, LOG.name):
        note_start(tmp_path, 0)
        note_start(tmp_path, 1)
        assert not caplog.records
        note_start(tmp_path, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "worker 1 starts again; the one before it crashed or was killed"
    ]
    assert restarts() == before + 1


def test_a_disk_that_takes_nothing_does_not_stop_a_worker(tmp_path: Path) -> None:
    before = restarts()
    note_start(tmp_path / "missing", 0)
    assert restarts() == before


@pytest.mark.slow
def test_a_worker_that_dies_while_it_loads_is_counted(
    environment: dict[str, str], tmp_path: Path
) -> None:
    variables = {**environment, "BENTOML_HOME": str(tmp_path), "EMOTION_WORKERS": "2"}
    run_tool(["-m", "search", "publish"], variables)
    with running(variables) as (address, parent):
        wait_until(lambda: read_metric(address, "emotion_ready") == 2)
        assert read_metric(address, "emotion_worker_restarts_total") == 0
        shutil.rmtree(tmp_path / "models")
        os.kill(workers(parent.pid)[0], signal.SIGKILL)
        wait_until(lambda: read_metric(address, "emotion_worker_restarts_total") >= 1, 60)
        assert read_metric(address, "emotion_ready") == 1
