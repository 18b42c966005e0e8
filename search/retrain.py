"""The long training of one network: checkpoint, curves, artifact."""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from search.calibrate import calibrate
from search.claim import claim
from search.config import Recipe
from search.data import Faces, load_split
from search.distributed import rank, world
from search.duration import format_seconds
from search.errors import TrainingError
from search.history import write_history
from search.plan import Plan, Run, choose_faces
from search.robustness import FAULTS, record_robustness
from search.train import fit
from service.artifact import HISTORY_FILE, Artifact, load_artifact, save_artifact
from service.device import pick_precision
from service.network import NetworkConfig, config_from_dict, count_flops, count_parameters

FER2013_VALIDATION = "ac459d71fc236fb7e22a8c010486a35597d4e4a09336c94cec68dce9909a50b7"
"""Digest of FER2013's PublicTest split, by which the data set is known."""

FER2013_TERMS = {
    "name": "FER2013",
    "terms": "FER2013 (Goodfellow et al., Challenges in representation learning, 2013); "
    "research use only",
    "licence": "Apache-2.0 for the code; weights trained on FER2013, for research use only",
}
OTHER_TERMS = {
    "name": "own faces",
    "terms": "own faces, under the terms of whoever gave them",
    "licence": "Apache-2.0 for the code; weights as far as the terms of all faces allow that "
    "they, their teachers and the network they start from were trained on",
}


def retrain(
    data: Path,
    network: NetworkConfig,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    seed: int,
    device: torch.device,
    start_from: Path | None = None,
    teachers: Sequence[Path] = (),
    lineage: dict[str, Any] | None = None,
    compiled: bool = False,
) -> Path:
    """Train one network and write `out/artifact`; the same call again resumes.

    Args:
        data: FER2013 in any form `search.data.load_split` reads.
        network: what to build.
        recipe: how to train it.
        out: folder for `checkpoint.pt`, the curve in `history.csv`, and `artifact/` in the end.
        name: the model's name in its card.
        seed: fixes weights, order and augmentation.
        device: CPU or CUDA.
        start_from: artifact of the same network to go on from, in place of fresh weights.
        teachers: artifacts whose answers a recipe that distils mixes into the targets.
        lineage: the trial that the network comes from, for the card.
        compiled: as in `search.train.fit`.

    Returns:
        The artifact's folder.

    Raises:
        ArtifactError: `start_from` or a teacher does not pass its checks.
        DataError: a split cannot be read.
        TrainingError: as `search.train.fit`, `start_from` is of another network, or another
            process trains in `out`.
    """
    first = load_start(start_from, network) if start_from else None
    taught_by = [load_artifact(folder) for folder in teachers]
    # A place that cannot be written to is told now and not after the first epoch.
    out.mkdir(parents=True, exist_ok=True)
    train = choose_faces(recipe, load_split(data, "train"))
    validation = load_split(data, "validation")
    plan = Plan(
        network,
        recipe,
        seed,
        train.digest(),
        start_from=first.card["weights_sha256"] if first else None,
        teachers=tuple(teacher.card["weights_sha256"] for teacher in taught_by),
    )
    progress = Progress(recipe.epochs)

    def report(history: list[dict[str, float]]) -> None:
        write_history(out / HISTORY_FILE, history)
        progress.show(history[-1])

    with alone(out):
        run = fit(
            plan,
            train,
            validation,
            device,
            initial=first.network if first else None,
            teachers=[teacher.network for teacher in taught_by],
            checkpoint=out / "checkpoint.pt",
            compiled=compiled,
            begin=progress.begin,
            report=report,
        )
        if rank() == 0:
            facts = describe(plan, run, validation, name)
            if lineage:
                facts["search"] = lineage
            write_artifact(out / "artifact", plan, run, facts)
            finish_artifact(out / "artifact", data, device)
    return out / "artifact"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Train where no other process does; under torchrun the first one stands for all.

    Raises:
        TrainingError: another process does.
    """
    if rank() > 0:
        yield
        return
    with claim(out / "retrain.lock") as mine:
        if not mine:
            raise TrainingError(f"{out}: another process trains here; name another folder")
        yield


def load_start(folder: Path, network: NetworkConfig) -> Artifact:
    """The artifact to go on from.

    Raises:
        ArtifactError: it does not pass its checks.
        TrainingError: it is of another network.
    """
    artifact = load_artifact(folder)
    if config_from_dict(artifact.card["network"]) != network:
        raise TrainingError(
            f"{folder}: of another network than the one to be trained; "
            "--network or --study must name its own"
        )
    return artifact


def finish_artifact(folder: Path, data: Path, device: torch.device) -> None:
    """Measure a network whose weights are final, and write the figures into its card.

    Raises:
        ArtifactError: the artifact does not pass its checks.
        DataError: a split cannot be read.
    """
    print("weights are final; fits temperature and threshold on validation", flush=True)
    calibrate(folder, data, device)
    print(f"measures accuracy under {len(FAULTS)} faults", flush=True)
    record_robustness(folder, data, device)


def write_artifact(folder: Path, plan: Plan, run: Run, facts: dict[str, Any]) -> None:
    """Weights, card and curve of a finished run."""
    save_artifact(folder, run.average, plan.network, facts)
    write_history(folder / HISTORY_FILE, run.history)


class Progress:
    """Prints one line an epoch, with the time left at the pace of this call's whole epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.begin(0.0)

    def begin(self, done: float) -> None:
        """Note the epochs done before this call, and print them if there are any."""
        self.first, self.started = done, time.monotonic()
        if done:
            last = int(done)
            place = f"after epoch {last}" if done.is_integer() else f"within epoch {last + 1}"
            print(f"goes on {place} of {self.epochs}", flush=True)

    def show(self, figures: dict[str, float]) -> None:
        """Print an epoch's figures."""
        epoch, now = figures["epoch"], time.monotonic()
        left = ""
        if self.first.is_integer():
            pace = (now - self.started) / (epoch - self.first)
            left = f"  {format_seconds(pace * (self.epochs - epoch))} left"
        else:
            # The rest of an epoch, with all of its validation, tells no pace.
            self.first, self.started = float(epoch), now
        unseen = ""
        if "unseen_accuracy" in figures:
            unseen = f", not in train {figures['unseen_accuracy']:.2%}"
        print(
            f"epoch {epoch:.0f}/{self.epochs}  loss {figures['loss']:.4f}  "
            f"accuracy {figures['accuracy']:.2%}  "
            f"validation {figures['validation_accuracy']:.2%} "
            f"(loss {figures['validation_loss']:.4f}{unseen})  "
            f"{figures['images_per_second']:.0f} images/s{left}",
            flush=True,
        )


def find_terms(validation_digest: str) -> dict[str, str]:
    """The data set's name and terms, and the weights' licence, by its validation split."""
    return FER2013_TERMS if validation_digest == FER2013_VALIDATION else OTHER_TERMS


def tell_machine(run: Run) -> dict[str, Any]:
    """What a run's weights depend on besides its plan, as it was at the end."""
    device = next(run.network.parameters()).device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "torch": str(torch.__version__),
        "device": gpu or f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "precision": str(pick_precision(device)).removeprefix("torch."),
        "processes": world(),
    }


def describe(plan: Plan, run: Run, validation: Faces, name: str) -> dict[str, Any]:
    """The card's facts about a finished run."""
    last = run.history[-1]
    digest = validation.digest()
    data = find_terms(digest)
    return {
        "name": name,
        "parameters": count_parameters(run.average),
        "flops_per_image": count_flops(plan.network),
        "recipe": asdict(plan.recipe),
        "seed": plan.seed,
        "start_from": plan.start_from,
        "teachers": list(plan.teachers),
        "data": {
            "name": data["name"],
            "train_sha256": plan.train_digest,
            "validation_sha256": digest,
            "terms": data["terms"],
        },
        "commit": run.commit,
        "trained_with": tell_machine(run),
        "licence": data["licence"],
        "metrics": {
            "validation": {
                "accuracy": last["validation_accuracy"],
                "loss": last["validation_loss"],
                "images": len(validation),
            }
        },
        "temperature": 1.0,
    }
