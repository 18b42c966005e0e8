"""From the command line to a command, and from what ends it to an exit status."""

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
from search.stop import Signalled, raise_on_signals, tell
from search.training.memory import is_out_of_memory
from service.artifact import ArtifactError
from service.device import DeviceError

DESCRIPTION: Final = "Offline side of the facial-emotion service: search, train, measure, publish."

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


def dispatch(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    if "resumes" in options:
        raise_on_signals()
    try:
        check_processes(options)
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError as error:
        return end_unread(error)
    except StoppedError as error:
        tell(f"{error}; run the same command again to resume")
        return 128 + error.signal
    except KeyboardInterrupt as error:
        resume = "; run the same command again to resume" if "resumes" in options else ""
        tell(f"interrupted{resume}")
        return 128 + (error.signal if isinstance(error, Signalled) else signal.SIGINT)
    except Exception as error:
        words = explain(error, options)
        if not words:
            raise
        tell(f"error: {words}")
        return 1
    return 0


def check_processes(options: argparse.Namespace) -> None:
    """Refuse processes of torchrun that would all do the same.

    Raises:
        OptionsError: the command is none that shares its work between them.
    """
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"
    if several and "spreads" not in options:
        raise OptionsError(
            "torchrun spreads `retrain` only; `run` has --workers, and `ablate` shares its runs "
            "where it is started several times"
        )


def explain(error: Exception, options: argparse.Namespace) -> str:
    """One line about an error that is no fault of the code; empty for others."""
    if isinstance(error, ERRORS):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        # The service's environment has not all that searching and drawing need.
        install = "pip install -c constraints.txt -e '.[search,compile]'"
        return f"the package {error.name} is missing; run: {install}"
    if is_out_of_memory(error):
        smaller = ", or smaller batches (--set batch_size=...)" if "changes" in options else ""
        return f"out of memory; it needs less beside it on the device{smaller}"
    if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
        reason = str(error).strip().partition("\n")[0]
        return f"cannot be compiled ({reason}); without --compile no compiler is needed"
    return ""


def end_unread(error: BrokenPipeError) -> int:
    """The status after a broken pipe: in silence where it is the output's, as with `| head`."""
    try:
        # What could not be written is dropped, so that only more of it tells whose pipe broke.
        print(flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    tell(f"error: {error}")
    return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m search", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (add_run, add_retrain, add_blend, add_choose, add_ablate):
        add(commands)
    for add in (add_evaluate, add_calibrate, add_robustness, add_report, add_audit, add_publish):
        add(commands)
    return parser
