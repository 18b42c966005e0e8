"""The training loop: data on the device, measured after every epoch."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from search.data.faces import Faces
from search.stop import StopWish, catch_stop
from search.training.checkpoint import Clock, read_checkpoint, write_checkpoint
from search.training.distributed import rank, world, wrap
from search.training.epoch import train_epoch
from search.training.inference import measure, on_device
from search.training.machine import tell_machine
from search.training.plan import Plan, Run, check_batches, start
from search.training.step import make_step
from search.training.targets import Tutor, make_targets


def fit(
    plan: Plan,
    train: Faces,
    validation: Faces,
    device: torch.device,
    *,
    initial: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    checkpoint: Path | None = None,
    clock: Clock | None = None,
    compiled: bool = False,
    begin: Callable[[float], None] = lambda _: None,
    report: Callable[[list[dict[str, float]]], None] = lambda _: None,
) -> Run:
    """Train a network from its plan, resuming from the checkpoint if that exists.

    With a checkpoint, Ctrl-C, SIGTERM and SIGHUP save within the epoch. Of several processes under
    torchrun only the first writes, and signals end them at the last checkpoint.

    Args:
        plan: network, recipe and seed; `train_digest` must be the digest of `train`.
        train: faces to learn from.
        validation: faces to measure on after every epoch.
        device: CPU or CUDA.
        initial: network of the plan's `start_from`.
        teachers: networks of the plan's `teachers`.
        checkpoint: file rewritten, whole or not at all, when the clock tells.
        clock: tells when to write it; by default after the first and the last epoch, else at
            most every ten seconds.
        compiled: whether `torch.compile` fuses the network; a minute for each size of images.
        begin: called before the first step with the epochs that the checkpoint holds; 3.4 is
            within the fourth.
        report: called after each epoch with the figures of all until then: `epoch`, `loss`,
            `accuracy`, `images_per_second` and those of `search.training.inference.measure`.

    Returns:
        The finished run; its `average` is the network to keep.

    Raises:
        TrainingError: the loss is not finite, a batch has too few faces, or a teacher cannot
            answer for the recipe's sizes of faces.
        CheckpointError: the checkpoint is of another plan, torn or cannot be written.
        StoppedError: a signal asked to stop; all is saved.
    """
    check_batches(plan.recipe, len(train))
    if device.index is not None:
        # CUDA's streams and graphs are of the current device unless told otherwise.
        torch.cuda.set_device(device)
    run, known = start(plan, device, initial), plan.fields(validation)
    if checkpoint and checkpoint.exists():
        run.restore(read_checkpoint(checkpoint, known))
        if run.finished:
            if rank() == 0:
                begin(float(run.epoch))
            return run
    run.machine = tell_machine(device)
    run.forward = wrap(run.network)
    if plan.recipe.consistent and teachers:
        run.tutor = Tutor(plan.recipe, teachers, device)
    if compiled:
        run.compile()
    images, labels = on_device(train, device)
    held_out = on_device(validation, device)
    unseen = torch.from_numpy(validation.absent_from(train)).to(device)
    targets = make_targets(plan.recipe, images, labels, teachers)
    if rank() == 0:
        begin(run.epoch + run.pause.get("step", 0) / (len(train) // plan.recipe.batch_size))
    clock, step = clock or Clock(), make_step(run)
    with catch_stop() if checkpoint and world() == 1 else nullcontext(StopWish()) as wish:
        while not run.finished:
            figures = train_epoch(run, plan, step, images, labels, targets=targets, stop=wish)
            if figures:
                run.history.append(figures | measure(run.average, *held_out, unseen))
            if figures and rank() == 0:
                report(run.history)
            # A wish that comes while this is written is heeded after the next step, if any.
            stopping, ended = bool(wish), run.finished
            if checkpoint and rank() == 0 and (stopping or clock.due(ended)):
                write_checkpoint(checkpoint, known, run.state())
                stopping = stopping or (ended and bool(wish))
            if stopping:
                raise wish.error()
    return run
