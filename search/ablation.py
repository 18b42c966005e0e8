"""An ablation: a network and recipe and variations of them over several seeds, each idea alone."""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn

from search.claim import claim
from search.config import Recipe
from search.data import Faces
from search.errors import TrainingError
from search.plan import Plan, choose_faces
from search.retrain import Progress
from search.scores import standard_error
from search.train import fit
from service.artifact import write_whole
from service.network import NetworkConfig

Figures = Mapping[str, float]
"""What an epoch came to, by name."""

ACCURACY: Final = "validation_accuracy"
UNSEEN: Final = "unseen_accuracy"

PAUSE: Final = 10.0
"""Seconds between two looks at the runs of other processes."""

BASE: Final = "base"
"""Name of the unchanged recipe among the ideas."""

IDEAS: Final[dict[str, Mapping[str, Any]]] = {
    "no-label-smoothing": {"label_smoothing": 0.0},
    "no-weight-decay": {"weight_decay": 0.0},
    "no-ema": {"ema_decay": 0.0},
    "no-warmup": {"warmup_epochs": 0.0},
    "constant-rate": {"schedule": "constant"},
    # Their own usual rates come with them; Muon's would be far too high for AdamW.
    "adamw": {"optimizer": "adamw", "learning_rate": 2e-3},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
    "no-mirror": {"mirror": False},
    "no-rotation": {"rotation": 0.0},
    "wide-rotation": {"rotation": 25.0},
    "no-zoom": {"zoom": 0.0},
    "wide-zoom": {"zoom": 0.3},
    "no-shift": {"shift": 0.0},
    "wide-shift": {"shift": 0.2},
    "blur": {"blur": 1.5},
    "no-erase": {"erase": 0.0},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "balance": {"balance": 0.5},
    "full-size": {"sizes": ((1.0, 48),)},
    "keep-duplicates": {"drop_duplicates": False},
    "no-distill": {"distill": 0.0},
    "more-distill": {"distill": 0.6},
    "consistent": {"consistent": True},
    "no-squeeze": {"squeeze": False},
    "no-drop-path": {"drop_path": 0.0},
    "no-head-dropout": {"head_dropout": 0.0},
}
"""The fields of the recipe or of the network that each idea changes."""

Base = TypeVar("Base", Recipe, NetworkConfig)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is compared.

    Attributes:
        network: trained in every run but those of ideas that change it.
        recipe: the base.
        ideas: names in `IDEAS`.
        seeds: of each recipe, from 0.
        teachers: SHA-256 of the weights and network of each teacher of recipes that distil.
    """

    network: NetworkConfig
    recipe: Recipe
    ideas: tuple[str, ...]
    seeds: int
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)

    def runs(self) -> list[tuple[str, int]]:
        """Idea and seed of each run; all ideas come before the next seed."""
        return [(idea, seed) for seed in range(self.seeds) for idea in (BASE, *self.ideas)]


@dataclass(frozen=True)
class Effect:
    """An idea's accuracy over the seeds, beside the base's.

    Attributes:
        idea: name in `IDEAS`, or `BASE`.
        values: validation accuracy of each seed, 0 to 1.
        base: the same of the unchanged recipe.
        unseen: mean accuracy on the validation images that are not also in train; None where a
            run does not tell it.
    """

    idea: str
    values: tuple[float, ...]
    base: tuple[float, ...]
    unseen: float | None = None

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return statistics.fmean(self.values)

    @property
    def error(self) -> float:
        """Standard error of the mean; nan for a single seed."""
        return standard_error(self.values)

    @property
    def difference(self) -> float:
        """Mean accuracy less the base's."""
        return self.mean - statistics.fmean(self.base)

    @property
    def difference_error(self) -> float:
        """Standard error of the difference; nan for a single seed."""
        return math.hypot(self.error, standard_error(self.base))

    @property
    def kept(self) -> bool:
        """Whether three seeds or more show a gain of more than twice its standard error."""
        enough = min(len(self.values), len(self.base)) >= 3
        return enough and self.difference > 2 * self.difference_error


def pick_ideas(
    network: NetworkConfig, recipe: Recipe, names: Sequence[str] = (), taught: bool = False
) -> tuple[str, ...]:
    """The named ideas, or all that change something; those that need teachers only if `taught`.

    Raises:
        TrainingError: there is no such idea, or it changes nothing in this network and recipe.
    """
    for name in names:
        if name not in IDEAS:
            raise TrainingError(f"no idea {name}; there are: {', '.join(IDEAS)}")
        if not changes(network, recipe, name):
            raise TrainingError(f"idea {name} changes nothing in this network and recipe")
    untaught = {name for name in IDEAS if change(recipe, name).distill and not taught}
    found = [name for name in IDEAS if changes(network, recipe, name) and name not in untaught]
    return tuple(dict.fromkeys(names)) or tuple(found)


def changes(network: NetworkConfig, recipe: Recipe, idea: str) -> bool:
    """Whether the idea makes a difference; how teachers answer makes none without teachers."""
    base, changed = (
        replace(found, consistent=found.consistent and found.distill > 0)
        for found in (recipe, change(recipe, idea))
    )
    return base != changed or change(network, idea) != network


def change(base: Base, idea: str) -> Base:
    """The recipe or network with what the idea changes in it; as it is for `BASE`."""
    known = {field.name for field in dataclasses.fields(base)}
    found = {name: value for name, value in IDEAS.get(idea, {}).items() if name in known}
    return replace(base, **found)


def run_ablation(
    ablation: Ablation, train: Faces, validation: Faces, out: Path, device: torch.device
) -> list[Effect]:
    """Train what is not yet finished in `out`; the same call again goes on.

    Processes with the same `out` share the runs, and each of them waits for all.

    Args:
        ablation: what is compared.
        train: faces to learn from.
        validation: faces to measure on.
        out: folder of a small `<idea>-<seed>.json` a run, and of a checkpoint while it goes on.
        device: CPU or CUDA.

    Returns:
        The base and each idea, in the order of the ablation.

    Raises:
        TrainingError: as `check_teachers` and `search.train.fit`, or a finished run in `out` is
            of another plan.
        StoppedError: a signal asked to stop; all is saved.
    """
    # First all that can be wrong, and all that is there, before hours of training.
    check_teachers(ablation)
    plans = {run: make_plan(ablation, *run, train) for run in ablation.runs()}
    found = {
        run: read_run(run_path(out, *run), plan.fields(validation)) for run, plan in plans.items()
    }
    figures = {run: kept for run, kept in found.items() if kept}
    told = False
    while len(figures) < len(plans):
        done = len(figures)
        for number, (run, plan) in enumerate(plans.items(), 1):
            if run in figures:
                continue
            path = run_path(out, *run)
            with claim(path.with_suffix(".lock")) as mine:
                kept = read_run(path, plan.fields(validation))
                if kept is None and mine:
                    print(f"run {number} of {len(plans)}: {run[0]}, seed {run[1]}", flush=True)
                    kept = train_run(ablation, plan, (train, validation), path, device)
            if kept:
                figures[run] = kept
        if len(figures) == done:
            if not told:
                print("all missing runs are of other processes; waits for them", flush=True)
                told = True
            time.sleep(PAUSE)
    return sum_up(ablation, figures)


def check_teachers(ablation: Ablation) -> None:
    """Refuse recipes that learn from teachers without any, and teachers without a use.

    Raises:
        TrainingError: one of both.
    """
    taught = [name for name in (BASE, *ablation.ideas) if change(ablation.recipe, name).distill]
    if taught and not ablation.teachers:
        raise TrainingError(f"{', '.join(taught)} learns from teachers; give --teacher")
    if ablation.teachers and not taught:
        raise TrainingError("--teacher has no use: no recipe here learns from one")


def make_plan(ablation: Ablation, idea: str, seed: int, train: Faces) -> Plan:
    """The plan of one run."""
    recipe = change(ablation.recipe, idea)
    faces = choose_faces(recipe, train)
    teachers = tuple(ablation.teachers) if recipe.distill else ()
    return Plan(change(ablation.network, idea), recipe, seed, faces.digest(), teachers=teachers)


def train_run(
    ablation: Ablation, plan: Plan, splits: tuple[Faces, Faces], path: Path, device: torch.device
) -> Figures:
    """Train one run and keep its figures in `path`; returns those after its last epoch."""
    checkpoint, progress = path.with_suffix(".pt"), Progress(plan.recipe.epochs)
    finished = fit(
        plan,
        choose_faces(plan.recipe, splits[0]),
        splits[1],
        device,
        teachers=list(ablation.teachers.values()) if plan.teachers else (),
        checkpoint=checkpoint,
        begin=progress.begin,
        report=lambda history: progress.show(history[-1]),
    )
    kept = write_run(path, plan.fields(splits[1]), finished.history)
    checkpoint.unlink(missing_ok=True)
    return kept


def run_path(out: Path, idea: str, seed: int) -> Path:
    """The file of a finished run."""
    return out / f"{idea}-{seed}.json"


def write_run(path: Path, plan: dict[str, Any], history: Sequence[Figures]) -> Figures:
    """Keep a run's accuracies after each epoch, whole or not at all; returns the last ones."""
    curves = {
        name: [figures[name] for figures in history]
        for name in (ACCURACY, UNSEEN)
        if all(name in figures for figures in history)
    }
    write_whole(path, json.dumps({"plan": plan, **curves}).encode())
    return {name: curve[-1] for name, curve in curves.items()}


def read_run(path: Path, plan: dict[str, Any]) -> Figures | None:
    """Accuracies after the last epoch of a finished run, None where there is none.

    Raises:
        TrainingError: the file is not readable, or of another plan.
    """
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        found, figures = saved["plan"], {ACCURACY: float(saved[ACCURACY][-1])}
        if UNSEEN in saved:
            figures[UNSEEN] = float(saved[UNSEEN][-1])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise TrainingError(f"{path}: not a readable run ({error})") from None
    # Through JSON, where tuples are lists.
    wanted = json.loads(json.dumps(plan))
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        words = f"run of another ablation, {', '.join(differing)} differs"
        raise TrainingError(f"{path}: {words}; name another output folder or remove it")
    return figures


def sum_up(ablation: Ablation, figures: Mapping[tuple[str, int], Figures]) -> list[Effect]:
    """The base and each idea, from the accuracies of each run."""

    def gather(idea: str, name: str) -> tuple[float, ...]:
        return tuple(
            figures[idea, seed][name]
            for seed in range(ablation.seeds)
            if name in figures[idea, seed]
        )

    base = gather(BASE, ACCURACY)
    effects = []
    for idea in (BASE, *ablation.ideas):
        unseen = gather(idea, UNSEEN)
        mean = statistics.fmean(unseen) if len(unseen) == ablation.seeds else None
        effects.append(Effect(idea, gather(idea, ACCURACY), base, mean))
    return effects
