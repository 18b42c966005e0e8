"""The long training of one network: checkpoint, curves, artifact."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from search.claim import claim
from search.data.splits import load_split
from search.errors import TrainingError
from search.evaluation.calibrate import calibrate
from search.evaluation.robustness import CORRUPTIONS, record_robustness
from search.retraining.card import describe
from search.training.distributed import rank, world
from search.training.history import write_history
from search.training.machine import name_machine
from search.training.plan import Plan, Run, choose_faces
from search.training.recipe import Recipe
from search.training.train import fit
from search.training.training_progress import TrainingProgress
from service.artifact import (
    HISTORY_FILE,
    TRAINED_FOLDER,
    Artifact,
    ArtifactError,
    load_artifact,
    save_artifact,
)
from service.network import (
    NetworkConfig,
    config_from_dict,
    count_flops,
    count_parameters,
    sketch_network,
)


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
        data: FER2013 in any form `search.data.splits.load_split` reads.
        network: what to build.
        recipe: how to train it.
        out: folder for `checkpoint.pt`, the curve in `history.csv`, and `artifact/` in the end.
        name: the model's name in its card.
        seed: fixes weights, order and augmentation.
        device: CPU or CUDA.
        start_from: artifact of the same network to go on from, in place of fresh weights.
        teachers: artifacts whose answers a recipe that distils mixes into the targets.
        lineage: the trial that the network comes from, for the card.
        compiled: as in `search.training.train.fit`.

    Returns:
        The artifact's folder.

    Raises:
        ArtifactError: `start_from` or a teacher does not pass its checks.
        DataError: a split cannot be read.
        TrainingError: as `search.training.train.fit`, `start_from` is of another network, or
            another process trains in `out`.
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
    progress = TrainingProgress(recipe)

    def report(history: list[dict[str, float]]) -> None:
        write_history(out / HISTORY_FILE, history)
        progress.show(history[-1])

    with alone(out):
        if rank() == 0:
            spread = f", {world()} processes" * (world() > 1) + ", compiled" * compiled
            print(f"{tell_size(network, name)}; on {name_machine(device)}{spread}", flush=True)
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
            keep(out / TRAINED_FOLDER, plan, run, facts, data=data, device=device)
    return out / TRAINED_FOLDER


def tell_size(network: NetworkConfig, name: str) -> str:
    """Name, parameters and cost of a network in words."""
    parameters = count_parameters(sketch_network(network))
    return f"{name}: {parameters:,} parameters, {count_flops(network) / 1e6:,.0f} MFLOP an image"


def keep(
    folder: Path,
    plan: Plan,
    run: Run,
    facts: dict[str, Any],
    *,
    data: Path,
    device: torch.device,
) -> None:
    """Write a finished run's artifact and measure it, unless that was done before."""
    if is_measured(folder, facts, run):
        print("was finished before", flush=True)
        return
    save_artifact(folder, run.average, plan.network, facts)
    write_history(folder / HISTORY_FILE, run.history)
    finish_artifact(folder, data, device)


def is_measured(folder: Path, facts: dict[str, Any], run: Run) -> bool:
    """Whether the artifact is of this very run and its card has all figures."""
    try:
        found = load_artifact(folder)
    except (ArtifactError, OSError):
        return False
    # Through JSON, where tuples are lists. Measuring changes two, and adds others.
    known = json.loads(json.dumps(facts))
    if any(found.card.get(key) != known[key] for key in known.keys() - {"metrics", "temperature"}):
        return False
    # No batch norm's count of steps: an artifact has none.
    pairs = zip(run.average.parameters(), found.network.parameters(), strict=True)
    same = all(torch.equal(own.cpu(), kept) for own, kept in pairs)
    return same and "robustness" in found.card and (folder / HISTORY_FILE).exists()


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
    print(f"measures accuracy under {len(CORRUPTIONS)} corruptions", flush=True)
    record_robustness(folder, data, device)
