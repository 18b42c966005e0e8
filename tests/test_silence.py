import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState
from sqlalchemy import update

from search.study.silence import vigil
from search.study.slots import claim_slot, open_slots
from search.study.storage import connect
from search.study.study import Protocol, open_study


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds by which the clock is ahead; the test sets them."""
    ahead = [0.0]
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + ahead[0])
    vigil.cache_clear()
    yield ahead
    vigil.cache_clear()


def silence(storage: RDBStorage, seconds: float) -> None:
    """As if no worker had given a sign of life for so long."""
    past = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=seconds)
    with storage.engine.begin() as connection:
        connection.execute(update(TrialHeartbeatModel).values(heartbeat=past))


def test_a_machine_that_slept_waits_for_new_signs_of_life(
    tmp_path: Path, moved: list[float]
) -> None:
    storage = connect(str(tmp_path / "s.db"), heartbeat=10)
    study = open_study(storage, "s", Protocol(data_digest="d"))
    open_slots(study, range(1))
    assert claim_slot(study, storage, range(1))
    moved[0] = 3600
    silence(storage, 3600)
    open_slots(study, range(1))
    assert study.trials[0].state == TrialState.RUNNING
    for second in range(1, 32):
        moved[0] = 3600 + second
        vigil().look()
    open_slots(study, range(1))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
