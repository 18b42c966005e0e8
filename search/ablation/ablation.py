"""An ablation: a network and recipe and variations of them, over several seeds."""

import statistics
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import nn

from search.ablation.ablation_run import ACCURACY, UNSEEN, Figures, read_run, run_path, write_run
from search.ablation.effect import Effect
from search.ablation.ideas import BASE, apply_idea
from search.claim import claim
from search.data.faces import Faces
from search.errors import DivergedError, TrainingError
from search.training.machine import name_machine
from search.training.plan import Plan, choose_faces
from search.training.recipe import Recipe
from search.training.targets import check_sizes
from search.training.train import fit
from search.training.training_progress import TrainingProgress
from service.network import NetworkConfig

Run = tuple[str, int]
"""Idea and seed."""

Plans = Mapping[Run, Plan]

PAUSE: Final = 10.0
"""Seconds between two looks at the runs of other processes."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is compared.

    Attributes:
        network: trained in every run but those of ideas that change it.
        recipe: the base.
        ideas: names in `IDEAS`, or several tried together.
        seeds: of each recipe, from 0.
        start: SHA-256 of the weights and network that each run goes on from, in place of fresh
            ones; no idea may change the weights' shapes then.
        teachers: SHA-256 of the weights and network of each teacher of recipes that distil.
    """

    network: NetworkConfig
    recipe: Recipe
    ideas: tuple[str, ...]
    seeds: int
    start: tuple[str, nn.Module] | None = None
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)

    def runs(self) -> list[Run]:
        """Idea and seed of each run; all ideas come before the next seed."""
        return [(idea, seed) for seed in range(self.seeds) for idea in (BASE, *self.ideas)]


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
        TrainingError: as `check_teachers` and `search.training.train.fit`, or a finished run in
            `out` is of another plan.
        StoppedError: a signal asked to stop; all is saved.
    """
    # First all that can be wrong, and all that is there, before hours of training.
    check_teachers(ablation)
    plans = make_plans(ablation, train)
    figures = read_finished(plans, validation, out)
    print(f"{len(plans) - len(figures)} runs left of {len(plans)}, on {name_machine(device)}")
    told = False
    while len(figures) < len(plans):
        splits = (train, validation)
        found = train_missing(ablation, plans, figures.keys(), splits, out=out, device=device)
        figures |= found
        if not found:
            if not told:
                print("all missing runs are of other processes; waits for them", flush=True)
                told = True
            time.sleep(PAUSE)
    return sum_up(ablation, figures)


def read_finished(plans: Plans, validation: Faces, out: Path) -> dict[Run, Figures]:
    """The last figures of all runs that are finished in `out`."""
    found = {run: read_run(run_path(out, *run), plans[run].fields(validation)) for run in plans}
    return {run: figures for run, figures in found.items() if figures}


def train_missing(
    ablation: Ablation,
    plans: Plans,
    finished: Collection[Run],
    splits: tuple[Faces, Faces],
    *,
    out: Path,
    device: torch.device,
) -> dict[Run, Figures]:
    """Train what no other process does; returns what is finished now and was not before."""
    figures = {}
    for number, (run, plan) in enumerate(plans.items(), 1):
        if run in finished:
            continue
        path = run_path(out, *run)
        with claim(path.with_suffix(".lock")) as mine:
            found = read_run(path, plan.fields(splits[1]))
            if found is None and mine:
                print(f"run {number} of {len(plans)}: {run[0]}, seed {run[1]}", flush=True)
                with naming(*run):
                    found = train_run(ablation, plan, splits, path, device)
        if found:
            figures[run] = found
    return figures


def check_teachers(ablation: Ablation) -> None:
    """Refuse recipes that learn from teachers without any, and teachers without a use.

    Raises:
        TrainingError: one of both, or as `check_sizes`; the message names the idea.
    """
    taught = [name for name in (BASE, *ablation.ideas) if apply_idea(ablation.recipe, name).distill]
    if taught and not ablation.teachers:
        raise TrainingError(f"{', '.join(taught)} learns from teachers; give --teacher")
    if ablation.teachers and not taught:
        raise TrainingError("--teacher has no use: no recipe here learns from one")
    for name in taught:
        recipe = apply_idea(ablation.recipe, name)
        if recipe.consistent:
            try:
                check_sizes(recipe, list(ablation.teachers.values()))
            except TrainingError as error:
                raise TrainingError(f"{name}: {error}") from None


def make_plans(ablation: Ablation, train: Faces) -> dict[Run, Plan]:
    """The plan of each run."""
    digests: dict[bool, str] = {}
    plans = {}
    for idea, seed in ablation.runs():
        recipe = apply_idea(ablation.recipe, idea)
        if recipe.drop_duplicates not in digests:
            digests[recipe.drop_duplicates] = choose_faces(recipe, train).digest()
        plans[idea, seed] = Plan(
            apply_idea(ablation.network, idea),
            recipe,
            seed,
            digests[recipe.drop_duplicates],
            start_from=ablation.start[0] if ablation.start else None,
            teachers=tuple(ablation.teachers) if recipe.distill else (),
        )
    return plans


@contextmanager
def naming(idea: str, seed: int) -> Iterator[None]:
    """Name the run whose training diverges."""
    try:
        yield
    except DivergedError as error:
        hint = "" if idea == BASE else f"; --ideas without {idea} leaves it out"
        raise DivergedError(f"{idea}, seed {seed}: {error}{hint}") from None


def train_run(
    ablation: Ablation, plan: Plan, splits: tuple[Faces, Faces], path: Path, device: torch.device
) -> Figures:
    """Train one run and keep its figures in `path`; returns those after its last epoch."""
    checkpoint, progress = path.with_suffix(".pt"), TrainingProgress(plan.recipe)
    finished = fit(
        plan,
        choose_faces(plan.recipe, splits[0]),
        splits[1],
        device,
        initial=ablation.start[1] if ablation.start else None,
        teachers=list(ablation.teachers.values()) if plan.teachers else (),
        checkpoint=checkpoint,
        begin=progress.begin,
        report=lambda history: progress.show(history[-1]),
    )
    kept = write_run(path, plan.fields(splits[1]), finished.history)
    checkpoint.unlink(missing_ok=True)
    return kept


def sum_up(ablation: Ablation, figures: Mapping[Run, Figures]) -> list[Effect]:
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
