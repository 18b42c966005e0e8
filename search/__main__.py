"""Offline side of the facial-emotion service: train, evaluate and publish networks."""

import argparse
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Final

from search.arguments import add_artifact
from search.errors import DataError, OptionsError, StoppedError, StudyError, TrainingError
from search.measuring_commands import (
    add_ablate,
    add_audit,
    add_calibrate,
    add_evaluate,
    add_report,
    add_robustness,
)
from search.stop import Terminated, raise_on_signals
from search.training_commands import add_choose, add_retrain, add_run
from service.artifact import ArtifactError
from service.device import DeviceError

if TYPE_CHECKING:
    from search.arguments import Commands

ERRORS: Final = (
    DataError,
    OptionsError,
    StudyError,
    TrainingError,
    ArtifactError,
    DeviceError,
    OSError,
)
"""What ends a command with one line and status 1."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    if "resumes" in options:
        raise_on_signals()
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError as error:
        return end_unread(error)
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except StoppedError as error:
        print(f"{error}; the same command goes on from where it was", file=sys.stderr)
        return 128 + error.signal
    except ModuleNotFoundError as error:
        # The service's environment has not all that searching and drawing need.
        install = "pip install -c constraints.txt -e '.[search,compile]'"
        print(f"error: the package {error.name} is missing; run: {install}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        goes_on = "; the same command goes on from where it was" if "resumes" in options else ""
        print(f"interrupted{goes_on}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    return 0


def end_unread(error: BrokenPipeError) -> int:
    """The status after a broken pipe: in silence where it is the output's, as with `| head`."""
    try:
        # What could not be written is dropped, so that only more of it tells whose pipe broke.
        print(flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    print(f"error: {error}", file=sys.stderr)
    return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (add_run, add_retrain, add_choose, add_ablate):
        add(commands)
    for add in (add_evaluate, add_calibrate, add_robustness, add_report, add_audit, add_publish):
        add(commands)
    return parser


def add_publish(commands: "Commands") -> None:
    """`publish`: put an artifact into the model store."""
    text = "put an artifact into the BentoML model store, as the latest of its name"
    parser = commands.add_parser("publish", help=text)
    add_artifact(parser)
    parser.add_argument("--name", default="facial-emotion", help="the model's name in the store")
    text = "leave what is the latest where the artifact is there already"
    parser.add_argument("--if-new", action="store_true", help=text)
    parser.set_defaults(command=run_publish)


def run_publish(options: argparse.Namespace) -> None:
    """Publish and print the tag.

    Raises:
        OptionsError: BentoML takes no such name, or would change it.
    """
    from search.publish import publish

    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", options.name):
        raise OptionsError(
            f"--name {options.name!r}: small letters, digits and . _ - within, at most 63"
        )
    print(publish(options.artifact, options.name, options.if_new))


if __name__ == "__main__":
    sys.exit(main())
