"""Commands that measure and draw: their options and what they print."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands.arguments import (
    add_artifact,
    add_data,
    add_device,
    add_split,
    add_storage,
    refuse_unused,
)
from search.errors import OptionsError

if TYPE_CHECKING:
    from search.commands.arguments import Commands


def add_evaluate(commands: "Commands") -> None:
    """`evaluate`: measure an artifact on a split."""
    parser = commands.add_parser("evaluate", help="measure an artifact on a split")
    _add_common(parser)
    add_split(parser)
    parser.add_argument("--predictions", type=Path, help="csv to write, one row an image")
    parser.set_defaults(command=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> None:
    """Print the figures."""
    from search.evaluation.evaluate import evaluate, time_per_image, write_predictions
    from search.evaluation.summary import format_evaluation
    from service.artifact import load_artifact
    from service.device import pick_device

    device = pick_device(options.device)
    plain, mirrored = evaluate(options.artifact, options.data, options.split, device)
    # Before anything is printed, which somebody may stop reading.
    if options.predictions:
        write_predictions(options.predictions, plain)
    print(format_evaluation(plain, mirrored), "\n")
    network = load_artifact(options.artifact).network
    for batch in (1, 64):
        timing = time_per_image(network, device, batch)
        median, low, high = (1e3 * value for value in (timing.median, timing.low, timing.high))
        print(
            f"time an image     {median:.2f} ms in batches of {batch} on {device}: "
            f"median of {timing.passes} passes, half of them {low:.2f} to {high:.2f}"
        )
    print("                  (other work on the machine slows it)")


def add_calibrate(commands: "Commands") -> None:
    """`calibrate`: fit temperature and threshold on validation."""
    text = "fit confidence on validation and write it and the figures into the card"
    _add_common(commands.add_parser("calibrate", help=text), command=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> None:
    """Print what was written into the card."""
    from search.evaluation.calibrate import calibrate
    from service.device import pick_device

    result = calibrate(options.artifact, options.data, pick_device(options.device))
    facts = result.facts
    print(f"temperature      {result.temperature:g} (fitted on {facts['images']} images)")
    print(f"ECE              {facts['ece_before']:.4f} before, {facts['ece_after']:.4f} after")
    print(f"loss             {facts['loss_before']:.4f} before, {facts['loss_after']:.4f} after")
    print(
        f"uncertain below  {result.uncertain_below:g}: "
        f"{facts['accuracy_when_answered']:.2%} right among the {facts['coverage']:.2%} answered"
    )


def add_robustness(commands: "Commands") -> None:
    """`robustness`: accuracy on corrupted images."""
    text = "measure accuracy on corrupted validation images and write it into the card"
    _add_common(commands.add_parser("robustness", help=text), command=run_robustness)


def run_robustness(options: argparse.Namespace) -> None:
    """Print one line a corruption."""
    from search.evaluation.robustness import record_robustness
    from service.device import pick_device

    facts = record_robustness(options.artifact, options.data, pick_device(options.device))
    for name, accuracy in facts["accuracy"].items():
        print(f"{name:<28} {accuracy:.4f}")


def add_report(commands: "Commands") -> None:
    """`report`: a model or a study as one page."""
    parser = commands.add_parser("report", help="draw a model or a study as one page")
    parser.add_argument("--study", help="the study to draw, in place of a model")
    add_split(parser)
    add_storage(parser)
    _add_common(parser, command=run_report, needs_data=False)
    _add_out(parser)


def run_report(options: argparse.Namespace) -> None:
    """Write the page and say where it lies.

    Raises:
        OptionsError: options of a model for a study or the other way round, or a model is to be
            drawn without a data set.
    """
    if options.study:
        refuse_unused(options, "data", "device", "artifact", "split", because="not with --study")
        from search.report.study_report import write_study_report

        print(write_study_report(options.storage, options.study, options.out))
        return
    refuse_unused(options, "storage", because="only with --study")
    from search.report.artifact_report import write_artifact_report
    from service.device import pick_device

    if not options.data:
        raise OptionsError("the report of a model needs --data; that of a study --study")
    device = pick_device(options.device)
    page = write_artifact_report(options.artifact, options.data, options.out, device, options.split)
    print(page)


def add_audit(commands: "Commands") -> None:
    """`audit`: faults of the data set."""
    parser = commands.add_parser("audit", help="find faults of the data set")
    add_data(parser)
    _add_out(parser)
    parser.set_defaults(command=run_audit)


def run_audit(options: argparse.Namespace) -> None:
    """Print the counts, write the page and say where it lies."""
    from search.report.audit_report import write_audit

    print(write_audit(options.data, options.out))


def _add_common(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None] | None = None,
    needs_data: bool = True,
) -> None:
    add_data(parser, needs_data)
    add_device(parser)
    add_artifact(parser)
    parser.set_defaults(command=command)


def _add_out(parser: argparse.ArgumentParser) -> None:
    text = "folder for the page and its pictures, which show faces of the data set"
    parser.add_argument("--out", type=Path, required=True, help=text)
