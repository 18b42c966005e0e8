import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna import Study, Trial, TrialPruned
from optuna.exceptions import StorageInternalError
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState

from search.config import Pruner
from search.errors import CheckpointError, StoppedError, StudyError, TrialFailedError
from search.study import trial
from search.study.curve import report_accuracy
from search.study.phase import Search, digest_data
from search.study.run import run_search
from search.study.slots import CONSTRAINT, RUNG, open_slots
from search.study.space import SPACES, Candidate
from search.study.storage import connect
from search.study.study import Protocol, find_study
from search.study.trial_checkpoint import (
    discard,
    find_folder,
    forget,
    read_epochs,
    trial_checkpoint,
)
from search.training import train
from search.training.epoch import train_epoch
from search.training.plan import Plan
from search.training.recipe import Recipe
from service.network import PlainConfig
from tests.conftest import TINY, make_faces, write_folder

EPOCHS = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_folder(tmp_path / "faces", "train", make_faces(70))
    write_folder(tmp_path / "faces", "validation", make_faces(35, seed=1))
    return tmp_path / "faces"


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def suggest_tiny(trial: Trial, epochs: int) -> Candidate:
        width = trial.suggest_int("width", 8, 16, step=8)
        return Candidate(PlainConfig(channels=(width, width)), Recipe(epochs=epochs, batch_size=16))

    monkeypatch.setitem(SPACES, "paper", suggest_tiny)
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def search(data: Path, storage: Path, pruner: Pruner = "none") -> Study:
    protocol = Protocol(epochs=EPOCHS, data_digest=digest_data(data), pruner=pruner)
    options: dict[str, Any] = {"trials": 1, "device": "cpu", "confirm": 0}
    try:
        run_search(
            Search(data=data, storage=str(storage), name="a/b", protocol=protocol, **options)
        )
    finally:
        study = find_study(connect(str(storage)), "a/b")[0]
    return study


def stop_after(epoch: int) -> Callable[..., None]:
    def report_and_stop(of: Trial, done: int, accuracy: float) -> None:
        report_accuracy(of, done, accuracy)
        if done == epoch:
            os.kill(os.getpid(), signal.SIGTERM)

    return report_and_stop


def test_a_stopped_trial_goes_on_in_its_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(data, tmp_path / "whole.db").trials[0]
    with monkeypatch.context() as patch:
        patch.setattr(trial, "report_accuracy", stop_after(2))
        with pytest.raises(StoppedError):
            search(data, tmp_path / "s.db")
    folder = find_folder(str(tmp_path / "s.db"), "a/b")
    assert folder and [file.name for file in folder.iterdir()] == ["0.pt"]
    trained: list[int] = []

    def note(run: Any, *arguments: Any, **options: Any) -> Any:
        trained.append(run.epoch)
        return train_epoch(run, *arguments, **options)

    monkeypatch.setattr(train, "train_epoch", note)
    stopped, again = search(data, tmp_path / "s.db").trials
    assert trained == [2]
    assert stopped.user_attrs["interrupted"] and stopped.state == TrialState.FAIL
    assert again.state == TrialState.COMPLETE
    assert again.intermediate_values == whole.intermediate_values
    assert again.values == whole.values
    assert sorted(file.name for file in tmp_path.iterdir()) == ["faces", "s.db", "whole.db"]


def test_a_trial_that_goes_on_keeps_its_own_bracket_and_rungs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Brackets go by a trial's number: the first rung of trial 0 is at the last epoch here, which
    # counts for none, that of trial 1 at the first.
    monkeypatch.setattr(
        HyperbandPruner, "_get_bracket_id", lambda _, study, trial: 1 - trial.number
    )
    with monkeypatch.context() as patch:
        patch.setattr(trial, "report_accuracy", stop_after(2))
        with pytest.raises(StoppedError):
            search(data, tmp_path / "s.db", "hyperband")
    stopped, again = search(data, tmp_path / "s.db", "hyperband").trials
    assert not {key for key in stopped.system_attrs if key.startswith(RUNG)}
    rungs = {key: value for key, value in again.system_attrs.items() if key.startswith(RUNG)}
    assert rungs == {f"{RUNG}0": again.intermediate_values[1]}


def test_a_repeated_trial_leaves_the_rungs_of_the_first_behind(tmp_path: Path) -> None:
    study = optuna.create_study(storage=connect(str(tmp_path / "s.db")))
    marks = {f"{RUNG}0": 0.5, "nsga2:generation": 3, f"{CONSTRAINT}FLOPs": -0.5}
    failed = optuna.create_trial(state=TrialState.FAIL, user_attrs={"slot": 0}, system_attrs=marks)
    study.add_trial(failed)
    open_slots(study, [0])
    assert study.trials[-1].state == TrialState.WAITING
    assert study.trials[-1].system_attrs == {"nsga2:generation": 3}


def test_a_trial_stopped_in_its_last_epoch_is_complete_without_another(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trial, "report_accuracy", stop_after(EPOCHS))
        with pytest.raises(StoppedError):
            search(data, tmp_path / "s.db")
    monkeypatch.setattr(train, "train_epoch", None)
    _, again = search(data, tmp_path / "s.db").trials
    assert again.state == TrialState.COMPLETE
    assert len(again.intermediate_values) == EPOCHS
    assert again.user_attrs["images_per_second"] > 0


def test_a_full_disk_ends_the_search_and_settles_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CheckpointError("0.pt: not written, no space left")

    monkeypatch.setattr(trial, "fit", fail)
    with pytest.raises(StudyError, match="no space left"):
        search(data, tmp_path / "s.db")
    study = find_study(connect(str(tmp_path / "s.db")), "a/b")[0]
    assert "reason" not in study.trials[0].user_attrs


@pytest.mark.parametrize("error", [TrialPruned(), TrialFailedError("out of memory")])
def test_a_checkpoint_goes_with_its_slot(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, checkpoint: Path, **__: object) -> None:
        checkpoint.touch()
        raise error

    monkeypatch.setattr(trial, "fit", fail)
    with pytest.raises(StudyError, match="no complete trial"):
        search(data, tmp_path / "s.db")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["faces", "s.db"]


def test_a_checkpoint_stays_until_its_value_is_in_the_storage(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageInternalError("away")

    monkeypatch.setattr(trial, "INTERVAL", 0.0)
    with monkeypatch.context() as patch, pytest.raises(StudyError, match="storage was lost: away"):
        patch.setattr(Study, "tell", fail)
        search(data, tmp_path / "s.db")
    monkeypatch.setattr(train, "train_epoch", None)
    first = find_study(connect(str(tmp_path / "s.db")), "a/b")[0].trials[0]
    connect(str(tmp_path / "s.db")).set_trial_state_values(first._trial_id, TrialState.FAIL)
    again = search(data, tmp_path / "s.db").trials[-1]
    assert again.state == TrialState.COMPLETE


def test_a_slot_that_is_still_trained_elsewhere_is_left_alone(tmp_path: Path) -> None:
    with trial_checkpoint(tmp_path, 3) as path:
        assert path is not None
        path.touch()
        with trial_checkpoint(tmp_path, 3) as other:
            assert other is None
        forget(tmp_path, 3)
        assert path.exists()
    forget(tmp_path, 3)
    # Another worker may be about to begin in the folder.
    assert not path.exists() and tmp_path.is_dir()


def test_a_checkpoint_of_another_trial_is_removed(tmp_path: Path) -> None:
    path, faces, history = tmp_path / "3.pt", make_faces(7), [{"epoch": 1.0}]
    plan = Plan(TINY, Recipe(epochs=1), 1, faces.digest())
    torch.save({"plan": plan.fields(faces), "run": {"history": history}}, path)
    assert read_epochs(path, plan.fields(faces)) == history
    assert read_epochs(path, replace(plan, seed=2).fields(faces)) == []
    assert not path.exists()


def test_a_torn_checkpoint_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "3.pt"
    path.write_bytes(b"torn")
    assert read_epochs(path, {}) == []
    assert not path.exists()


def test_only_what_the_given_slots_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "s.db.trials" / "study-a"
    folder.mkdir(parents=True)
    for name in ("0.pt", "1.lock", "70.pt"):
        (folder / name).touch()
    discard(folder, range(60))
    assert [file.name for file in folder.iterdir()] == ["70.pt"]
    discard(folder, range(100))
    assert not folder.parent.exists()


def test_a_place_that_cannot_be_written_to_is_no_fault_of_the_trial(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StudyError, match="no checkpoint can be written, Not a directory"),
        trial_checkpoint(tmp_path / "file" / "study", 3),
    ):
        pass


def test_only_sqlite_has_a_folder_beside_it() -> None:
    assert find_folder("postgresql://host/name", "s") is None
    assert find_folder("sqlite:///runs/a.db?timeout=9", "s") == Path("runs/a.db.trials/study-s")
    assert find_folder("runs/a.db", "..") == Path("runs/a.db.trials/study-..")
    assert find_folder("runs/a.db", "a/b") == Path("runs/a.db.trials/study-a%2Fb")
