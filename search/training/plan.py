"""What a training run is made from, and its state."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search.data.faces import Faces, drop_duplicates
from search.errors import TrainingError
from search.training.distributed import world
from search.training.memory import keep_freed_memory
from search.training.optimizer import make_optimizers
from search.training.recipe import Recipe, recipe_from_dict
from service.network import NetworkConfig, build_network, config_from_dict, config_to_dict


@dataclass(frozen=True)
class Plan:
    """What fixes a run: two runs of one plan on one machine give the same weights, to the bit.

    That is on one machine with the same packages and number of threads.

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

    def fields(self, validation: Faces) -> dict[str, Any]:
        """JSON-ready form with the digest of the faces to measure on, by which a run is known."""
        return {
            "network": config_to_dict(self.network),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "train_digest": self.train_digest,
            "validation_digest": validation.digest(),
            "start_from": self.start_from,
            "teachers": list(self.teachers),
        }


def differing_fields(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two plans' fields, such as `recipe.erase`; an older one may lack some.

    Raises:
        KeyError, TypeError, ValueError: `found` is none of a plan.
    """
    filled = {
        **found,
        "network": config_to_dict(config_from_dict(found["network"])),
        "recipe": asdict(recipe_from_dict(found["recipe"])),
        "validation_digest": found.get("validation_digest", wanted["validation_digest"]),
    }
    # Through JSON, where tuples are lists.
    there, here = (json.loads(json.dumps(fields)) for fields in (filled, wanted))
    pairs = ((name, there.get(name), here[name]) for name in here)
    return [word for name, old, new in pairs for word in _tell_difference(name, old, new)]


def _tell_difference(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [f"{name}.{key}" for key in new if old.get(key) != new[key]]
    return [name] if old != new else []


@dataclass
class Run:
    """A training run's state between two steps.

    Attributes:
        epochs: to train in all.
        network: being trained.
        average: moving average of its weights; measured, and kept in the end.
        optimizers: one or two, by the recipe.
        commit: the code that the run was started with.
        machine: on which it was trained last; empty where an older version trained it.
        forward: the network as it is called: itself, compiled, or spread over processes.
        tutor: mixes the teachers' answers for a batch into its targets, by the recipe.
        history: the figures of each finished epoch.
        pause: where within the next epoch the run was stopped; empty between epochs.
    """

    epochs: int
    network: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    commit: str
    forward: Callable[[Tensor], Tensor]
    machine: dict[str, Any] = field(default_factory=dict)
    tutor: Callable[[Tensor, Tensor], Tensor] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    pause: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are."""
        return self.epoch == self.epochs

    def compile(self) -> None:
        """Let the network, and the teachers, be fused at the first steps of each image size."""
        self.forward = torch.compile(self.forward, dynamic=False)
        if self.tutor is not None:
            self.tutor = torch.compile(self.tutor, dynamic=False)

    @cached_property
    def moving(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and running statistics of the averaged and of the trained network."""
        return self._pair(floating=True)

    @cached_property
    def counters(self) -> tuple[list[Tensor], list[Tensor]]:
        """The batch norms' counts of steps, of both networks."""
        return self._pair(floating=False)

    def _pair(self, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
        old, new = (
            [t for t in network.state_dict().values() if t.is_floating_point() == floating]
            for network in (self.average, self.network)
        )
        return old, new

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must hold."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "commit": self.commit,
            "machine": self.machine,
            "history": self.history,
            "pause": self.pause,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            for group in optimizer.param_groups:
                # As they were before a CUDA graph; this machine may have no GPU.
                group["lr"] = float(group["lr"])
                if "capturable" in group:
                    group["capturable"] = False
        self.commit, self.history = state["commit"], state["history"]
        self.pause, self.machine = state.get("pause", {}), state.get("machine", {})


def start(plan: Plan, device: torch.device, initial: nn.Module | None = None) -> Run:
    """A run before its first epoch: the initial network's weights, or drawn from the seed."""
    if device.type == "cpu":
        keep_freed_memory()
    else:
        # What the run before left is of other sizes, and other workers share the GPU.
        torch.cuda.empty_cache()
    torch.manual_seed(plan.seed)
    network, average = (
        build_network(plan.network).to(device).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    if initial is not None:
        network.load_state_dict(initial.state_dict())
    average.load_state_dict(network.state_dict())
    optimizers = make_optimizers(network, plan.recipe)
    return Run(plan.recipe.epochs, network, average, optimizers, current_commit(), forward=network)


def choose_faces(recipe: Recipe, train: Faces) -> Faces:
    """What the recipe learns from."""
    return drop_duplicates(train) if recipe.drop_duplicates else train


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
