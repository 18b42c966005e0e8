import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna import Study, Trial, TrialPruned, create_trial
from optuna.trial import TrialState

from search.errors import TrialFailedError
from search.study import study_progress as progress
from search.study.confirmation import SEEDS_PER_SLOT
from search.study.slots import claim_slot, open_slots
from search.study.storage import connect
from search.study.study import Protocol, open_study
from search.study.study_progress import StudyProgress
from search.study.worker import work
from tests.live import ROOT


@pytest.fixture
def study(tmp_path: Path) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(connect(str(tmp_path / "s.db")), "s", Protocol(data_digest="d", epochs=4))


def stand_in(trial: Trial) -> float:
    """A training that takes no time."""
    trial.set_user_attr("images_per_second", 100.0)
    return 0.5


def test_running_trials_are_shown_with_their_epochs(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.1)
    storage = connect(str(tmp_path / "s.db"))
    open_slots(study, range(3))
    with StudyProgress(study, range(3), workers=2, epochs=4):
        first, _ = (claim_slot(study, storage, range(3)) for _ in range(2))
        assert first
        first.report(0.25, 1)
        first.report(0.5, 2)
        time.sleep(1)
    assert "0/3 done  trial 0 epoch 2/4 50.00%  trial 1 epoch 0/4" in capsys.readouterr().out


def test_a_line_tells_what_is_done(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = connect(str(tmp_path / "s.db"))
    with StudyProgress(study, range(2), workers=1, epochs=4):
        work(study, storage, range(1), stand_in)
    assert "1/2 done  best 50.00% (trial 0)  100 images/s  0:00:0" in capsys.readouterr().out


def test_a_line_tells_what_was_too_large(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(trial: Trial) -> float:
        if trial.user_attrs["slot"] == 2:
            raise TrialFailedError("out of memory")
        trial.set_user_attr("reason", "too large: 9 FLOPs, at most 1")
        raise TrialPruned

    with StudyProgress(study, range(3), workers=1, epochs=4):
        work(study, connect(str(tmp_path / "s.db")), range(3), refuse)
    assert "3/3 done  2 too large  1 failed" in capsys.readouterr().out


def test_a_confirmation_names_the_searchs_trial(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = 7 * SEEDS_PER_SLOT + 1
    attributes = {"slot": slot, "confirms": 42}
    template = create_trial(state=TrialState.WAITING, user_attrs=attributes)
    storage = connect(str(tmp_path / "s.db"))
    with StudyProgress(study, (slot,), workers=1, epochs=4):
        work(study, storage, (slot,), stand_in, {slot: template})
    assert "best 50.00% (trial 42 seed 2)" in capsys.readouterr().out


def test_trials_refused_untrained_tell_no_time(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def objective(trial: Trial) -> float:
        if trial.user_attrs["slot"] < 2:
            trial.set_user_attr("reason", "too large: 9 FLOPs, at most 1")
            raise TrialPruned
        trial.set_user_attr("images_per_second", 1.0)
        return 0.5

    shown = StudyProgress(study, range(4), workers=1, epochs=1)
    for wanted in (range(2), range(3)):
        work(study, connect(str(tmp_path / "s.db")), wanted, objective)
        shown.show_done()
    refused, trained = capsys.readouterr().out.splitlines()
    assert refused == "2/4 done  2 too large"
    assert trained.startswith("3/4 done  2 too large  best 50.00%") and trained.endswith(" left")


UNREAD = """
import optuna
from search.study.study_progress import StudyProgress
optuna.logging.set_verbosity(optuna.logging.ERROR)
with StudyProgress(optuna.create_study(), range(3), workers=1, epochs=4):
    open("entered", "w").close()
open("left", "w").close()
"""


@pytest.mark.parametrize("both", [False, True])
def test_a_search_goes_on_when_nobody_reads_its_progress(both: bool, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", UNREAD],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=writing if both else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert {file.name for file in tmp_path.iterdir()} == {"entered", "left"}
    if not both:
        words = "nobody reads the progress any more; the search goes on\n"
        assert done.stderr.startswith(words)
