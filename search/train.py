"""The training loop: data on the device, no host synchronisation inside an epoch."""

import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from search.augment import augment
from search.config import Recipe
from search.data import Faces
from search.errors import TrainingError
from search.optimizer import make_optimizers, rate_factor
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
    """A training run's state between two epochs.

    Attributes:
        network: being trained.
        average: moving average of its weights; measured, and kept in the end.
        optimizers: one or two, by the recipe.
        commit: the code that the run was started with.
        history: the figures of each finished epoch.
    """

    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    commit: str
    history: list[dict[str, float]] = field(default_factory=list)

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
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.commit, self.history = state["commit"], state["history"]


def fit(
    plan: Plan,
    train: Faces,
    validation: Faces,
    device: torch.device,
    *,
    initial: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    checkpoint: Path | None = None,
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> Run:
    """Train a network from its plan, resuming from the checkpoint if that exists.

    Args:
        plan: network, recipe and seed; `train_digest` must be the digest of `train`.
        train: faces to learn from.
        validation: faces to measure on after every epoch.
        device: CPU or CUDA.
        initial: network of the plan's `start_from`.
        teachers: networks of the plan's `teachers`.
        checkpoint: file rewritten, whole or not at all, after every epoch.
        report: called with each epoch's figures (`epoch`, `loss`, `accuracy`,
            `validation_loss`, `validation_accuracy`, `images_per_second`).

    Returns:
        The finished run; its `average` is the network to keep.

    Raises:
        TrainingError: the loss is not finite, or the checkpoint is of another plan or torn.
    """
    run = start(plan, device, initial)
    if checkpoint and checkpoint.exists():
        run.restore(read_checkpoint(checkpoint, plan))
    images, labels = on_device(train, device)
    held_out = on_device(validation, device)
    targets = make_targets(plan.recipe, images, labels, teachers)
    while run.epoch < plan.recipe.epochs:
        started = time.perf_counter()
        figures = train_epoch(run, plan, images, labels, targets)
        seconds = time.perf_counter() - started
        figures["images_per_second"] = len(labels) / seconds
        loss, accuracy = measure(run.average, *held_out)
        figures |= {"validation_loss": loss, "validation_accuracy": accuracy}
        run.history.append(figures)
        if checkpoint:
            write_checkpoint(checkpoint, plan, run)
        report(figures)
    return run


def start(plan: Plan, device: torch.device, initial: nn.Module | None = None) -> Run:
    """A run before its first epoch: the initial network's weights, or drawn from the seed."""
    torch.manual_seed(plan.seed)
    network, average = (
        build_network(plan.network).to(device).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    if initial is not None:
        network.load_state_dict(initial.state_dict())
    average.load_state_dict(network.state_dict())
    return Run(network, average, make_optimizers(network, plan.recipe), current_commit())


def current_commit() -> str:
    """The checked-out commit with `-dirty` where files differ, or `unknown` outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
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
    run: Run, plan: Plan, images: Tensor, labels: Tensor, targets: Tensor
) -> dict[str, float]:
    """One pass over the data in an order fixed by seed and epoch; returns its figures."""
    recipe, device = plan.recipe, images.device
    # Seeding each epoch afresh makes a resumed run equal to one that never stopped.
    seed = plan.seed * 100_003 + run.epoch
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator, device=device)
    steps = len(labels) // recipe.batch_size
    totals = torch.zeros(2, device=device)
    size = recipe.size_at(run.epoch)
    run.network.train()
    for step in tqdm(range(steps), f"epoch {run.epoch + 1}", leave=False, disable=None):
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        set_rates(run.optimizers, rate_factor(recipe, run.epoch + (step + 1) / steps))
        batch = augment(standardize(images[rows]), recipe, size, generator)
        totals += train_step(run, batch, labels[rows], targets[rows])
        update_average(run, recipe.ema_decay, run.epoch * steps + step)
    loss, accuracy = (totals / steps).tolist()
    if not math.isfinite(loss):
        raise TrainingError(f"the loss of epoch {run.epoch + 1} is not finite")
    return {"epoch": run.epoch + 1, "loss": loss, "accuracy": accuracy}


def train_step(run: Run, batch: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """One update; returns loss and accuracy of the batch, shape (2,), on the device."""
    precision = pick_precision(batch.device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.autocast(batch.device.type, precision, enabled=precision != torch.float32):
        logits = run.network(batch)
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


def write_checkpoint(path: Path, plan: Plan, run: Run) -> None:
    """Replace the checkpoint in one step, so that a kill leaves the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    with fresh.open("wb") as file:
        torch.save({"plan": plan.fields(), "run": run.state()}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_checkpoint(path: Path, plan: Plan) -> dict[str, Any]:
    """The run's state in a checkpoint of this very plan.

    Raises:
        TrainingError: the file is torn, or of another network, recipe, seed or data.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found, state = saved["plan"], saved["run"]
    except Exception as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({error})") from None
    wanted = plan.fields()
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        raise TrainingError(
            f"{path}: checkpoint of another run, {', '.join(differing)} differs; "
            "name another output folder or remove it"
        )
    assert isinstance(state, dict)
    return state
