"""One trial: a configuration drawn, trained for some epochs, measured on validation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna import Trial, TrialPruned

from search.data.faces import Faces
from search.errors import CheckpointError, StudyError, TrainingError, TrialFailedError
from search.stop import raise_again
from search.study.curve import has_several, report_accuracy
from search.study.sampler import derive_seed
from search.study.space import SPACES, Candidate
from search.study.study import Protocol
from search.study.trial_checkpoint import INTERVAL, read_epochs
from search.training.checkpoint import Clock
from search.training.memory import is_out_of_memory
from search.training.plan import Plan, check_batches, choose_faces
from search.training.train import fit
from service.network import config_to_dict, count_flops, count_parameters, sketch_network


def train_trial(
    trial: Trial,
    protocol: Protocol,
    train: Faces,
    validation: Faces,
    device: torch.device,
    *,
    checkpoint: Path | None = None,
) -> tuple[float, ...]:
    """Train a trial's network.

    Args:
        trial: new, of a slot.
        protocol: of its study.
        train: faces to learn from.
        validation: faces to measure on after every epoch.
        device: CPU or CUDA.
        checkpoint: what an earlier trial of the slot left is gone on from; a signal leaves one.

    Returns:
        Validation accuracy, 0 to 1, after the last epoch; with the objectives `accuracy,flops`
        also the FLOPs of a forward pass on one image.

    Raises:
        TrialPruned: larger or costlier than the protocol allows, or stopped by the pruner;
            the trial's attribute `reason` says which.
        TrialFailedError: out of memory, or a loss that is not finite.
        StudyError: there are too few faces for a batch, or a checkpoint cannot be written.
        StoppedError: a signal asked to stop; all is in the checkpoint.
    """
    plan, faces = make_plan(trial, protocol, train)

    def report(history: list[dict[str, float]]) -> None:
        raise_again()
        if note_epoch(trial, protocol, history[-1]):
            trial.set_user_attr("reason", f"pruned after epoch {history[-1]['epoch']:.0f}")
            raise TrialPruned

    if checkpoint:
        for figures in read_epochs(checkpoint, plan.fields(validation)):
            # The pruner's verdict is past, but it keeps what the trial had at each rung.
            note_epoch(trial, protocol, figures)
    clock = Clock(INTERVAL, edges=False)
    with failures_told():
        run = fit(
            plan, faces, validation, device, checkpoint=checkpoint, clock=clock, report=report
        )
    record_figures(trial, run.history[-1])
    accuracy = run.history[-1]["validation_accuracy"]
    return (accuracy, trial.user_attrs["flops"]) if has_several(trial.study) else (accuracy,)


def note_epoch(trial: Trial, protocol: Protocol, figures: Mapping[str, float]) -> bool:
    """Report the accuracy after an epoch; whether the pruner would end the trial there."""
    report_accuracy(trial, int(figures["epoch"]), figures["validation_accuracy"])
    # After its last epoch a trial has cost all that it can, and is worth its figure.
    unfinished = figures["epoch"] < protocol.epochs
    return protocol.pruner != "none" and unfinished and trial.should_prune()


def make_plan(trial: Trial, protocol: Protocol, train: Faces) -> tuple[Plan, Faces]:
    """Draw the configuration and record it; what is to be trained, and on which faces.

    Raises:
        TrialPruned: it is beyond the protocol's bounds.
        StudyError: there are too few faces for a batch.
    """
    candidate = SPACES[protocol.space](trial, protocol.epochs)
    check_cost(trial, candidate, protocol)
    seed = trial.user_attrs.get("seed", derive_seed(protocol.seed, trial.user_attrs["slot"]))
    trial.set_user_attr("training_seed", seed)
    faces = choose_faces(candidate.recipe, train)
    try:
        check_batches(candidate.recipe, len(faces))
    except TrainingError as error:
        # No other trial could do better, and the slot is for when there are more faces.
        raise StudyError(str(error)) from None
    return Plan(candidate.network, candidate.recipe, seed, faces.digest()), faces


@contextmanager
def failures_told() -> Iterator[None]:
    """What ends a training, as an error of the trial or of the study.

    Raises:
        StudyError: a checkpoint cannot be written, which says nothing of the configuration.
        TrialFailedError: out of memory, or a loss that is not finite.
    """
    try:
        yield
    except CheckpointError as error:
        raise StudyError(str(error)) from None
    except TrainingError as error:
        raise TrialFailedError(str(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrialFailedError("out of memory") from None


def record_figures(trial: Trial, last: Mapping[str, float]) -> None:
    """Keep the last epoch's figures with the trial.

    Not epoch by epoch: a trial that was stopped after its last one has nothing to report.
    """
    trial.set_user_attr("images_per_second", round(last["images_per_second"], 1))
    trial.set_user_attr("train_accuracy", last["accuracy"])
    if "unseen_accuracy" in last:
        trial.set_user_attr("unseen_accuracy", last["unseen_accuracy"])


def check_cost(trial: Trial, candidate: Candidate, protocol: Protocol) -> None:
    """Record parameters, FLOPs, network and recipe; prune what is beyond the bounds.

    How far it is beyond leads the sampler to smaller networks even where none is complete.
    """
    parameters = count_parameters(sketch_network(candidate.network))
    flops = count_flops(candidate.network)
    facts: dict[str, Any] = {
        "parameters": parameters,
        "flops": flops,
        "network": config_to_dict(candidate.network),
        "recipe": asdict(candidate.recipe),
    }
    for name, value in facts.items():
        trial.set_user_attr(name, value)
    bounds = (
        ("parameters", parameters, protocol.max_parameters),
        ("FLOPs", flops, protocol.max_flops),
    )
    for name, found, bound in bounds:
        if bound:
            trial.set_constraint(name, found / bound - 1)
    for name, found, bound in bounds:
        if bound and found > bound:
            trial.set_user_attr("reason", f"too large: {found:,} {name}, at most {bound:,}")
            raise optuna.TrialPruned
