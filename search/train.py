"""The training loop: data on the device, no host synchronisation inside an epoch."""

import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from search.augment import augment
from search.checkpoint import read_checkpoint, write_checkpoint
from search.config import Recipe
from search.data import Faces, drop_duplicates
from search.distributed import average_over_processes, own_part, rank, world, wrap
from search.errors import TrainingError
from search.memory import keep_freed_memory
from search.mix import mix
from search.optimizer import make_optimizers, rate_factor
from search.stop import StopWish, catch_stop
from service.device import pick_precision
from service.labels import LABELS
from service.network import NetworkConfig, build_network, config_to_dict
from service.preprocess import standardize


@dataclass(frozen=True)
class Plan:
    """What fixes a run: two runs of one plan on one machine give the same weights.

    Attributes:
        network: what to build.
        recipe: how to train it.
        seed: fixes fresh weights, order and augmentation.
        train_digest: of the faces to learn from.
        start_from: SHA-256 of the weights to begin with, in place of fresh ones.
        teachers: SHA-256 of the weights of each teacher.
    """

    network: NetworkConfig
    recipe: Recipe
    seed: int
    train_digest: str
    start_from: str | None = None
    teachers: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """JSON-ready form, compared when a run is resumed."""
        return {
            "network": config_to_dict(self.network),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "train_digest": self.train_digest,
            "start_from": self.start_from,
            "teachers": list(self.teachers),
        }


@dataclass
class Run:
    """A training run's state between two steps.

    Attributes:
        network: being trained.
        average: moving average of its weights; measured, and kept in the end.
        optimizers: one or two, by the recipe.
        commit: the code that the run was started with.
        forward: the network as it is called: itself, compiled, or spread over processes.
        history: the figures of each finished epoch.
        pause: where within the next epoch the run was stopped; empty between epochs.
    """

    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    commit: str
    forward: Callable[[Tensor], Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    pause: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must hold."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "commit": self.commit,
            "history": self.history,
            "pause": self.pause,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.commit, self.history = state["commit"], state["history"]
        self.pause = state.get("pause", {})


def choose_faces(recipe: Recipe, train: Faces) -> Faces:
    """What the recipe learns from."""
    return drop_duplicates(train) if recipe.drop_duplicates else train


def fit(
    plan: Plan,
    train: Faces,
    validation: Faces,
    device: torch.device,
    *,
    initial: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    checkpoint: Path | None = None,
    compile_mode: str | None = None,
    begin: Callable[[float], None] = lambda _: None,
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> Run:
    """Train a network from its plan, resuming from the checkpoint if that exists.

    With a checkpoint, SIGTERM and Ctrl-C save within the epoch. Of several processes under
    torchrun only the first writes, and signals end them at the last finished epoch.

    Args:
        plan: network, recipe and seed; `train_digest` must be the digest of `train`.
        train: faces to learn from.
        validation: faces to measure on after every epoch.
        device: CPU or CUDA.
        initial: network of the plan's `start_from`.
        teachers: networks of the plan's `teachers`.
        checkpoint: file rewritten, whole or not at all, after every epoch.
        compile_mode: mode of `torch.compile`, None for eager; `reduce-overhead` uses CUDA graphs.
        begin: called before the first step with the epochs that the checkpoint holds; 3.4 is
            within the fourth.
        report: called with each epoch's figures (`epoch`, `loss`, `accuracy`,
            `validation_loss`, `validation_accuracy`, `images_per_second`).

    Returns:
        The finished run; its `average` is the network to keep.

    Raises:
        TrainingError: the loss is not finite, a batch has too few faces, or the checkpoint is
            of another plan, torn or cannot be written.
        StoppedError: a signal asked to stop; all is saved.
    """
    check_batches(plan.recipe, len(train))
    run = start(plan, device, initial)
    if checkpoint and checkpoint.exists():
        run.restore(read_checkpoint(checkpoint, plan.fields()))
    run.forward = wrap(run.network)
    if compile_mode:
        run.forward = torch.compile(run.forward, mode=compile_mode, dynamic=False)
    images, labels = on_device(train, device)
    held_out = on_device(validation, device)
    targets = make_targets(plan.recipe, images, labels, teachers)
    if rank() == 0:
        steps = len(train) // plan.recipe.batch_size
        begin(run.epoch + run.pause.get("step", 0) / steps)
    with catch_stop() if checkpoint and world() == 1 else nullcontext(StopWish()) as wish:
        while run.epoch < plan.recipe.epochs:
            figures = train_epoch(run, plan, images, labels, targets, stop=wish)
            if figures:
                loss, accuracy = measure(run.average, *held_out)
                figures |= {"validation_loss": loss, "validation_accuracy": accuracy}
                run.history.append(figures)
            if checkpoint and rank() == 0:
                write_checkpoint(checkpoint, plan.fields(), run.state())
            if figures and rank() == 0:
                report(figures)
            if wish:
                raise wish.error()
    return run


def check_batches(recipe: Recipe, count: int) -> None:
    """Refuse a split without one whole batch, and a batch that the processes cannot share.

    Raises:
        TrainingError: one of both.
    """
    if count < recipe.batch_size:
        raise TrainingError(
            f"{count} faces to train on are fewer than a batch of {recipe.batch_size}"
        )
    if recipe.batch_size % world():
        raise TrainingError(f"{world()} processes cannot share a batch of {recipe.batch_size}")


def start(plan: Plan, device: torch.device, initial: nn.Module | None = None) -> Run:
    """A run before its first epoch: the initial network's weights, or drawn from the seed."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(plan.seed)
    network, average = (
        build_network(plan.network).to(device).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    if initial is not None:
        network.load_state_dict(initial.state_dict())
    average.load_state_dict(network.state_dict())
    optimizers = make_optimizers(network, plan.recipe)
    return Run(network, average, optimizers, current_commit(), forward=network)


def current_commit() -> str:
    """The checked-out commit with `-dirty` where files differ.

    Outside of git it is `REVISION`, which the container sets, or `unknown`.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("REVISION", "unknown")
    return done.stdout.strip()


def on_device(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images as uint8 (N, 1, 48, 48) and labels as int64 (N,), both on the device."""
    images = torch.from_numpy(faces.images.copy())[:, None]
    return images.to(device), torch.from_numpy(faces.labels.copy()).to(device)


def make_targets(
    recipe: Recipe, images: Tensor, labels: Tensor, teachers: Sequence[nn.Module]
) -> Tensor:
    """Probabilities to learn, shape (N, 7): smoothed labels mixed with the teachers' mean.

    Raises:
        TrainingError: the recipe distils without teachers, or has no use for them.
    """
    if bool(recipe.distill) != bool(teachers):
        raise TrainingError("teachers and a recipe that distils need each other")
    targets = functional.one_hot(labels, len(LABELS)).float()
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / len(LABELS)
    if not teachers:
        return targets
    views = (images, images.flip(3))
    answers = [
        functional.softmax(predict_logits(teacher.to(images.device), view), 1)
        for teacher in teachers
        for view in views
    ]
    return torch.lerp(targets, torch.stack(answers).mean(0), recipe.distill)


def train_epoch(
    run: Run, plan: Plan, images: Tensor, labels: Tensor, targets: Tensor, *, stop: StopWish
) -> dict[str, float]:
    """One pass over the data in an order fixed by seed and epoch.

    Returns:
        The epoch's figures; empty if it was stopped, which leaves `run.pause` behind.
    """
    recipe, device = plan.recipe, images.device
    # Seeding each epoch afresh makes a resumed run equal to one that never stopped.
    seed = plan.seed * 100_003 + run.epoch
    torch.manual_seed(seed + 7919 * rank())
    generator = torch.Generator(device).manual_seed(seed)
    order = draw_order(labels, recipe, generator)
    steps = len(labels) // recipe.batch_size
    first, totals, before = resume_epoch(run, generator)
    size = recipe.size_at(run.epoch)
    run.network.train()
    started = time.perf_counter()
    for step in tqdm(range(first, steps), f"epoch {run.epoch + 1}", leave=False, disable=None):
        if stop:
            seconds = before + time.perf_counter() - started
            run.pause = pause_epoch(step, totals, seconds, generator)
            return {}
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        set_rates(run.optimizers, rate_factor(recipe, run.epoch + (step + 1) / steps))
        batch = augment(standardize(images[rows]), recipe, size, generator)
        draw = np.random.default_rng((plan.seed, run.epoch, step))
        batch, wanted = mix(batch, targets[rows], recipe, draw)
        totals += train_step(run, *map(own_part, (batch, labels[rows], wanted)))
        update_average(run, recipe.ema_decay, run.epoch * steps + step)
    loss, accuracy = (average_over_processes(totals) / steps).tolist()
    seconds = before + time.perf_counter() - started
    if not math.isfinite(loss):
        raise TrainingError(f"the loss of epoch {run.epoch + 1} is not finite")
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
    generator.set_state(pause["generator"])
    torch.set_rng_state(pause["cpu"])
    if pause["cuda"] is not None:
        torch.cuda.set_rng_state(pause["cuda"], device)
    return pause["step"], pause["totals"].to(device), pause.get("seconds", 0.0)


def train_step(run: Run, batch: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """One update; returns loss and accuracy of the batch, shape (2,), on the device."""
    precision = pick_precision(batch.device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.autocast(batch.device.type, precision, enabled=precision != torch.float32):
        logits = run.forward(batch)
    loss = functional.cross_entropy(logits.float(), targets)
    torch.autograd.backward(loss)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return torch.stack((loss.detach(), (logits.argmax(1) == labels).float().mean()))


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to a share of its optimiser's peak rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


@torch.no_grad()
def update_average(run: Run, decay: float, step: int) -> None:
    """Move the averaged network towards the trained one; early steps move it further."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    trained = run.network.state_dict().values()
    for old, new in zip(run.average.state_dict().values(), trained, strict=True):
        if old.is_floating_point():
            old.lerp_(new, weight)
        else:
            old.copy_(new)


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """Logits, float32 (N, 7), of uint8 images (N, 1, 48, 48) on the network's device."""
    network.eval()
    parts = [
        network(standardize(part).contiguous(memory_format=torch.channels_last))
        for part in torch.split(images, batch_size)
    ]
    return torch.cat(parts).float()


def measure(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Cross-entropy (nats) and accuracy (0 to 1) over a split."""
    logits = predict_logits(network, images)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return functional.cross_entropy(logits, labels).item(), accuracy
