import logging
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from service.log import LOG
from service.server.restarts import note_start


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
        "worker 1 is back; the one before it crashed or was killed"
    ]
    assert restarts() == before + 1


def test_a_disk_that_takes_nothing_does_not_stop_a_worker(tmp_path: Path) -> None:
    before = restarts()
    note_start(tmp_path / "missing", 0)
    assert restarts() == before
