from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna import TrialPruned
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from search.config import Space
from search.data.faces import Faces
from search.errors import StudyError
from search.study import trial as module
from search.study.sampler import SlotSampler, derive_seed
from search.study.slots import count_done
from search.study.space import SPACES
from search.study.storage import connect
from search.study.study import Protocol, open_study
from search.study.trial import check_cost, train_trial
from search.study.worker import work
from search.training.plan import Plan
from tests.conftest import make_faces

CPU = torch.device("cpu")
FIGURES = {
    "accuracy": 0.5,
    "validation_accuracy": 0.4,
    "unseen_accuracy": 0.3,
    "images_per_second": 1.0,
}


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, Faces]]:
    """What trials hand to their training, which here takes no time."""
    handed: list[tuple[Plan, Faces]] = []

    def fit(plan: Plan, train: Faces, *_: object, report: Any, **__: object) -> Any:
        handed.append((plan, train))
        for done in (1, 2):
            report([{"epoch": done, **FIGURES}])
        return SimpleNamespace(history=[FIGURES])

    monkeypatch.setattr(module, "fit", fit)
    return handed


class PruneAfter(BasePruner):
    """Prunes after an epoch, whatever was reached."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.last_step == self.epoch


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(("epoch", "state"), [(1, TrialState.PRUNED), (2, TrialState.COMPLETE)])
def test_a_trial_is_not_pruned_after_its_last_epoch(epoch: int, state: TrialState) -> None:
    study = optuna.create_study(direction="maximize", pruner=PruneAfter(epoch))
    protocol = Protocol(epochs=2, pruner="halving", data_digest="")
    faces = make_faces(140)

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("slot", 0)
        return train_trial(trial, protocol, faces, faces, CPU)[0]

    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == state
    if state == TrialState.COMPLETE:
        assert study.trials[0].user_attrs["unseen_accuracy"] == 0.3


def test_the_slot_fixes_the_seed_but_in_a_confirmation(fitted: list[tuple[Plan, Faces]]) -> None:
    study, faces = optuna.create_study(sampler=SlotSampler(7)), make_faces(140)
    protocol = Protocol(epochs=2, seed=7, data_digest="")
    told = []
    for attributes in ({"slot": 3}, {"slot": 4}, {"slot": 3}, {"slot": 3, "seed": 9}):
        trial = study.ask()
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        train_trial(trial, protocol, faces, faces, CPU)
        told.append(trial.user_attrs["training_seed"])
    assert [plan.seed for plan, _ in fitted] == told
    assert told == [derive_seed(7, 3), derive_seed(7, 4), derive_seed(7, 3), 9]
    assert len(set(told)) == 3


@pytest.mark.parametrize(("space", "count"), [("paper", 147), ("residual", 140)])
def test_a_trial_learns_from_copies_as_its_recipe_says(
    space: Space, count: int, fitted: list[tuple[Plan, Faces]]
) -> None:
    faces = make_faces(140).select(np.r_[:140, :7])
    trial = optuna.create_study(sampler=SlotSampler(0)).ask()
    trial.set_user_attr("slot", 0)
    train_trial(trial, Protocol(epochs=2, space=space, data_digest=""), faces, faces, CPU)
    ((plan, train),) = fitted
    assert len(train) == count
    assert plan.train_digest == train.digest()


@pytest.mark.parametrize(("bound", "violations"), [(0, {}), (1, {"FLOPs": 11.0})])
def test_the_sampler_is_told_how_far_a_network_is_beyond_the_bounds(
    bound: int, violations: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "count_flops", lambda _: 12)
    study = optuna.create_study(storage="sqlite://")
    trial = study.ask()
    protocol = Protocol(max_flops=bound, data_digest="")
    with pytest.raises(TrialPruned) if bound else nullcontext():
        check_cost(trial, SPACES["paper"](trial, 2), protocol)
    assert study.trials[0].constraints == violations


def test_a_search_finds_networks_under_a_bound_that_few_random_ones_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "count_flops", lambda _: 1)
    study = optuna.create_study(sampler=TPESampler(seed=0, n_startup_trials=5))
    protocol = Protocol(max_parameters=200_000, space="residual", data_digest="")
    kept = []
    for number in range(30):
        trial = study.ask()
        with suppress(TrialPruned):
            check_cost(trial, SPACES["residual"](trial, 2), protocol)
            kept.append(number)
        # None is ever complete, so that the sampler has nothing else to go by.
        study.tell(trial, state=TrialState.PRUNED)
    assert len([number for number in kept if number >= 15]) >= 5


def test_too_few_faces_end_the_search_and_settle_nothing(tmp_path: Path, faces: Faces) -> None:
    storage = connect(str(tmp_path / "s.db"))
    protocol = Protocol(epochs=1, data_digest="")
    study = open_study(storage, "s", protocol)
    splits: dict[str, Any] = {"train": faces, "validation": faces, "device": CPU}
    objective = partial(train_trial, protocol=protocol, **splits)
    with pytest.raises(StudyError, match="70 faces to train on are fewer than a batch of 128"):
        work(study, storage, range(2), objective)
    assert count_done(study, range(2)) == 0
    assert study.trials[0].user_attrs["interrupted"]
