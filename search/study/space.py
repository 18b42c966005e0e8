"""The spaces that a study searches: from an Optuna trial to a network and its recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args

from optuna import Trial
from optuna.trial import FrozenTrial

from search.config import Space
from search.training.recipe import Optimizer, Recipe, Schedule
from service.network import NetworkConfig, PlainConfig, ResidualConfig

Choice = TypeVar("Choice", bound=str)

DEPTHS: Final = tuple(f"depth_{stage}" for stage in range(1, 5))
"""Choices of the residual blocks in each stage."""

RATES: Final[dict[Optimizer, tuple[float, float]]] = {
    "adamw": (3e-4, 1e-2),
    "muon": (5e-3, 1e-1),
    "sgd": (1e-2, 5e-1),
}
"""Lowest and highest peak rate of the residual space, by optimiser."""


@dataclass(frozen=True)
class Candidate:
    """What one trial trains."""

    network: NetworkConfig
    recipe: Recipe


def suggest_paper(trial: Trial, epochs: int) -> Candidate:
    """The paper's space (Vulpe-Grigorași & Grigore, 2021, section III), nothing else varied."""
    first = trial.suggest_int("first_kernels", 32, 256, step=32)
    further = trial.suggest_int("further_layers", 0, 4)
    kernels = [
        trial.suggest_int(f"kernels_{layer}", 64, 512, step=64) for layer in range(1, further + 1)
    ]
    network = PlainConfig(
        channels=(first, *kernels),
        conv_dropout=_tenths(trial, "conv_dropout", 1, 4),
        dense_dropout=_tenths(trial, "dense_dropout", 1, 4),
    )
    return Candidate(network, Recipe(epochs=epochs, optimizer="adam", learning_rate=1e-3))


def suggest_residual(trial: Trial, epochs: int) -> Candidate:
    """What the paper leaves out: residual networks and the choices of their training.

    Every trial has every choice, the depths of stages that it lacks among them, since NSGA-II
    hands on only what all trials have.
    """
    width = trial.suggest_int("width", 16, 96, step=16)
    stages = trial.suggest_int("stages", 2, 4)
    growth = trial.suggest_categorical("growth", [1.5, 2.0])
    depths = tuple(trial.suggest_int(name, 1, 3) for name in DEPTHS)
    network = ResidualConfig(
        stem_channels=trial.suggest_int("stem_channels", 16, 64, step=16),
        stem_stride=trial.suggest_int("stem_stride", 1, 2),
        channels=tuple(8 * round(width * growth**stage / 8) for stage in range(stages)),
        depths=depths[:stages],
        squeeze=trial.suggest_categorical("squeeze", [False, True]),
        drop_path=_tenths(trial, "drop_path", 0, 2),
        head_dropout=_tenths(trial, "head_dropout", 0, 4),
    )
    optimizer: Optimizer = _choose(trial, "optimizer", tuple(RATES))
    low, high = RATES[optimizer]
    # Where between both, on a logarithmic scale: an optimizer's good place says something of
    # the other's.
    place = trial.suggest_float("learning_rate_place", 0, 1)
    decay = trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True)
    recipe = Recipe(
        epochs=epochs,
        optimizer=optimizer,
        learning_rate=low * (high / low) ** place,
        # A penalty is worth its share of a rate that is far higher than AdamW's.
        weight_decay=decay / 100 if optimizer == "sgd" else decay,
        schedule=_choose(trial, "schedule", get_args(Schedule)),
        warmup_epochs=min(1.0, epochs / 10),
        label_smoothing=_tenths(trial, "label_smoothing", 0, 2),
        mirror=True,
        rotation=10,
        zoom=0.1,
        shift=0.1,
        drop_duplicates=True,
    )
    return Candidate(network, recipe)


VERSIONS: Final[dict[Space, int]] = {"paper": 1, "residual": 2}
"""Number of each space, higher with every change: a study cannot go on in another space."""

SPACES: Final[dict[Space, Callable[[Trial, int], Candidate]]] = {
    "paper": suggest_paper,
    "residual": suggest_residual,
}


def used_choices(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """The choices of a trial that its network shows: not the depths of stages that it lacks."""
    stages = trial.params.get("stages", len(DEPTHS))
    unused = set(DEPTHS[stages:])
    if trial.params.get("further_layers") == 0:
        # Only the further layers of the paper's networks have it.
        unused.add("conv_dropout_tenths")
    return {name: choice for name, choice in trial.params.items() if name not in unused}


def _choose(trial: Trial, name: str, choices: tuple[Choice, ...]) -> Choice:
    chosen = trial.suggest_categorical(name, choices)
    return next(choice for choice in choices if choice == chosen)


def _tenths(trial: Trial, name: str, low: int, high: int) -> float:
    """A number of tenths; whole-number steps keep 0.3 from becoming 0.30000000000000004."""
    return trial.suggest_int(f"{name}_tenths", low, high) / 10
