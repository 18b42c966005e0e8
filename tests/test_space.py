from collections.abc import Sequence
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from search.config import Space
from search.study.sampler import SlotSampler
from search.study.space import SPACES, suggest_paper, used_choices
from service.network import PlainConfig, ResidualConfig, build_network, count_parameters

DRAWS = 10_000


def draw(space: Space, count: int) -> list[optuna.Trial]:
    study = optuna.create_study(sampler=SlotSampler(0))
    trials = []
    for _ in range(count):
        trial = study.ask()
        SPACES[space](trial, 20)
        trials.append(trial)
    return trials


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_the_papers_best_network_has_its_printed_size() -> None:
    parameters = {
        "first_kernels": 256,
        "further_layers": 4,
        **{f"kernels_{i}": n for i, n in enumerate((512, 384, 192, 384), 1)},
        "conv_dropout_tenths": 2,
        "dense_dropout_tenths": 4,
    }
    candidate = suggest_paper(FixedTrial(parameters), 20)  # type: ignore[arg-type]
    assert count_parameters(build_network(candidate.network)) == 5_173_959
    assert candidate.recipe.optimizer == "adam"
    assert (candidate.recipe.learning_rate, candidate.recipe.batch_size) == (1e-3, 128)


def test_the_papers_space_is_drawn_whole_and_never_left() -> None:
    study = optuna.create_study(sampler=SlotSampler(3))
    seen: dict[str, set[object]] = {"first": set(), "further": set(), "count": set()}
    dropouts: set[float] = set()
    for slot in range(DRAWS):
        frozen = optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING, user_attrs={"slot": slot}
        )
        candidate = suggest_paper(_Drawn(study, frozen), 20)  # type: ignore[arg-type]
        assert isinstance(candidate.network, PlainConfig)
        first, *further = candidate.network.channels
        seen["first"].add(first)
        seen["further"].update(further)
        seen["count"].add(len(further))
        dropouts |= {candidate.network.conv_dropout, candidate.network.dense_dropout}
    assert seen["first"] == set(range(32, 257, 32))
    assert seen["further"] == set(range(64, 513, 64))
    assert seen["count"] == {0, 1, 2, 3, 4}
    assert dropouts == {0.1, 0.2, 0.3, 0.4}


class _Drawn:
    """A trial without a storage, so that ten thousand take a moment."""

    def __init__(self, study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> None:
        self.study, self.frozen = study, frozen

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        return float(self._sample(name, FloatDistribution(low, high, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._sample(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        return int(self._sample(name, IntDistribution(low, high, step=step)))

    def _sample(self, name: str, distribution: BaseDistribution) -> Any:
        sampler = self.study.sampler
        return sampler.sample_independent(self.study, self.frozen, name, distribution)


def test_the_residual_space_is_never_left() -> None:
    study = optuna.create_study(sampler=SlotSampler(5))
    seen: dict[str, set[object]] = {
        name: set() for name in ("stem", "stride", "depth", "stages", "optimizer")
    }
    for slot in range(DRAWS):
        frozen = optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING, user_attrs={"slot": slot}
        )
        candidate = SPACES["residual"](_Drawn(study, frozen), 20)  # type: ignore[arg-type]
        network, recipe = candidate.network, candidate.recipe
        assert isinstance(network, ResidualConfig)
        assert all(width % 8 == 0 and 16 <= width <= 96 * 8 for width in network.channels)
        rates = {"adamw": (3e-4, 1e-2), "muon": (5e-3, 1e-1), "sgd": (1e-2, 5e-1)}
        low, high = rates[recipe.optimizer]
        decay = recipe.weight_decay * (100 if recipe.optimizer == "sgd" else 1)
        assert low <= recipe.learning_rate <= high and 0.999e-3 <= decay <= 1.001e-1
        seen["optimizer"].add(recipe.optimizer)
        assert network.drop_path <= 0.2 and network.head_dropout <= 0.4
        assert recipe.label_smoothing <= 0.2
        seen["stem"].add(network.stem_channels)
        seen["stride"].add(network.stem_stride)
        seen["depth"].update(network.depths)
        seen["stages"].add(len(network.channels))
    expected = {"stem": {16, 32, 48, 64}, "stride": {1, 2}, "depth": {1, 2, 3}}
    assert seen == expected | {"stages": {2, 3, 4}, "optimizer": {"adamw", "muon", "sgd"}}


def test_the_residual_space_builds() -> None:
    for trial in draw("residual", 100):
        candidate = SPACES["residual"](trial, 20)
        assert isinstance(candidate.network, ResidualConfig)
        with torch.device("meta"):
            network = build_network(candidate.network).eval()
            assert network(torch.empty(1, 1, 48, 48)).shape == (1, 7)


def test_every_trial_of_the_residual_space_has_every_choice() -> None:
    names = set()
    for trial in draw("residual", 20):
        SPACES["residual"](trial, 20)
        names.add(frozenset(trial.params))
    assert len(names) == 1


def test_a_slot_fixes_its_configuration() -> None:
    one, other = draw("residual", 12), draw("residual", 12)
    assert [t.params for t in one] == [t.params for t in other]
    assert len({str(sorted(t.params.items())) for t in one}) == 12


def test_choices_that_a_network_does_not_show_are_not_told() -> None:
    for trial in draw("residual", 20):
        candidate = SPACES["residual"](trial, 20)
        assert isinstance(candidate.network, ResidualConfig)
        shown = [name for name in used_choices(trial) if name.startswith("depth_")]
        assert len(shown) == len(candidate.network.depths)
    for trial in draw("paper", 20):
        SPACES["paper"](trial, 20)
        further = trial.params["further_layers"] > 0
        assert ("conv_dropout_tenths" in used_choices(trial)) == further
