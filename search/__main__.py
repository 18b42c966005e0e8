"""Offline side of the facial-emotion service: train, evaluate and publish networks."""

import argparse
import os
import signal
import sys
from typing import Final

from search.commands.ablate import add_ablate
from search.commands.measuring_commands import (
    add_audit,
    add_calibrate,
    add_evaluate,
    add_report,
    add_robustness,
)
from search.commands.publish import add_publish
from search.commands.training_commands import add_blend, add_choose, add_retrain, add_run
from search.errors import DataError, OptionsError, StoppedError, StudyError, TrainingError
from search.stop import Signalled, raise_on_signals
from service.artifact import ArtifactError
from service.device import DeviceError

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
        print(f"{error}; run the same command again to resume", file=sys.stderr)
        return 128 + error.signal
    except ModuleNotFoundError as error:
        # The service's environment has not all that searching and drawing need.
        install = "pip install -c constraints.txt -e '.[search,compile]'"
        print(f"error: the package {error.name} is missing; run: {install}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        resume = "; run the same command again to resume" if "resumes" in options else ""
        print(f"interrupted{resume}", file=sys.stderr)
        return 128 + (error.signal if isinstance(error, Signalled) else signal.SIGINT)
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
    for add in (add_run, add_retrain, add_blend, add_choose, add_ablate):
        add(commands)
    for add in (add_evaluate, add_calibrate, add_robustness, add_report, add_audit, add_publish):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
