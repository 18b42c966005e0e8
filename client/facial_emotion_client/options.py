"""The options of the command, refused before anything is read, asked or written."""

import argparse
import math
import sys
from pathlib import Path
from typing import Final, NoReturn

from facial_emotion_client.images import ENDINGS

KEY: Final = "EMOTION_API_KEY"
"""Environment variable with the API key; on the command line all users could read it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End the command with 1, since 2 tells of images that failed."""
        self.print_usage(sys.stderr)
        self.exit(1, f"error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    text = f"Run the same command again to resume. {KEY} holds the API key, if any."
    about = "Labels a folder of images through a running facial-emotion service."
    parser = _Parser(prog="facial-emotion", description=about, epilog=text)
    text = f"searched with all folders in it for files that end in {', '.join(ENDINGS)}"
    parser.add_argument("folder", type=Path, help=text)
    text = "table to write, one for each folder: .csv, .json or .jsonl (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("labels.csv"), help=text)
    parser.add_argument("--url", default="http://localhost:3000", help="default: %(default)s")
    text = "find the faces in each image, one row per face; without it, each image is one face"
    parser.add_argument("--faces", action="store_true", help=text)
    text = "retry images whose rows record a failure"
    parser.add_argument("--retry", action="store_true", help=text)
    text = "most images a request (default: %(default)s)"
    parser.add_argument("--group-size", type=_count, default=32, help=text)
    text = "most requests at once (default: %(default)s)"
    parser.add_argument("--parallel", type=_count, default=4, help=text)
    text = "seconds to keep trying while the service is busy or away (default: %(default)s)"
    parser.add_argument("--patience", type=_seconds, default=60, help=text)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return seconds
