"""One pass over the data, without host synchronisation inside."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search.errors import DivergedError
from search.stop import StopWish
from search.training.augment import draw_views
from search.training.bar import bar
from search.training.distributed import average_over_processes, own_part, rank
from search.training.mix import mix
from search.training.optimizer import rate_factor
from search.training.plan import Plan, Run
from search.training.recipe import Recipe
from search.training.step import Step, set_rates, update_average
from service.labels import LABELS


def train_epoch(
    run: Run,
    plan: Plan,
    train_step: Step,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor,
    stop: StopWish,
) -> dict[str, float]:
    """One pass over the data in an order fixed by seed and epoch.

    Returns:
        The epoch's figures; empty if it was stopped, which leaves `run.pause` behind.
    """
    recipe, device = plan.recipe, images.device
    # Seeding each epoch afresh makes a resumed run equal to one that never stopped.
    seed = plan.seed * 100_003 + run.epoch
    # Another one than the generator's, or dropout would draw what order and augmentation do.
    torch.manual_seed(seed + 7919 * (rank() + 1))
    generator = torch.Generator(device).manual_seed(seed)
    order = draw_order(labels, recipe, generator)
    steps = len(labels) // recipe.batch_size
    first, totals, before = resume_epoch(run, generator)
    size = recipe.size_at(run.epoch)
    run.network.train()
    started = time.perf_counter()
    for step in bar(range(first, steps), f"steps of epoch {run.epoch + 1}"):
        if stop:
            seconds = before + time.perf_counter() - started
            run.pause = pause_epoch(step, totals, seconds, generator)
            return {}
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        set_rates(run.optimizers, rate_factor(recipe, run.epoch + (step + 1) / steps))
        batch = draw_views(images[rows], recipe, size, generator)
        draw = np.random.default_rng((plan.seed, run.epoch, step))
        batch, wanted = mix(batch, targets[rows], recipe, draw)
        totals += train_step(*map(own_part, (batch, labels[rows], wanted)))
        update_average(run, recipe.ema_decay, run.epoch * steps + step)
    loss, accuracy = (average_over_processes(totals) / steps).tolist()
    seconds = before + time.perf_counter() - started
    if not math.isfinite(loss):
        raise DivergedError(f"the loss of epoch {run.epoch + 1} is not finite")
    pace = steps * recipe.batch_size / seconds
    figures = {"loss": loss, "accuracy": accuracy, "images_per_second": pace}
    return {"epoch": run.epoch + 1, **figures}


def draw_order(labels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Rows of an epoch in random order, shape (N,): each once, or balanced over the classes."""
    if not recipe.balance:
        return torch.randperm(len(labels), generator=generator, device=labels.device)
    counts = labels.bincount(minlength=len(LABELS)).float()
    weights = counts[labels] ** -recipe.balance
    return weights.multinomial(len(labels), replacement=True, generator=generator)


def pause_epoch(
    step: int, totals: Tensor, seconds: float, generator: torch.Generator
) -> dict[str, Any]:
    """What it takes to go on before a step as if nothing had happened."""
    cuda = torch.cuda.get_rng_state(totals.device) if totals.is_cuda else None
    states = {"generator": generator.get_state(), "cpu": torch.get_rng_state(), "cuda": cuda}
    return {"step": step, "totals": totals.cpu(), "seconds": seconds, **states}


def resume_epoch(run: Run, generator: torch.Generator) -> tuple[int, Tensor, float]:
    """The step to begin with; up to it the sums of loss and accuracy, shape (2,), and seconds."""
    device, pause, run.pause = generator.device, run.pause, {}
    if not pause:
        return 0, torch.zeros(2, device=device), 0.0
    torch.set_rng_state(pause["cpu"])
    if (pause["cuda"] is not None) == (device.type == "cuda"):
        generator.set_state(pause["generator"])
    # A CPU's and a GPU's generators cannot go on from each other; the epoch's seed has to do.
    if pause["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(pause["cuda"], device)
    return pause["step"], pause["totals"].to(device), pause.get("seconds", 0.0)
