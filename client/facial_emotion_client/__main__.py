"""Labels a folder of images through a running facial-emotion service."""

import argparse
import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

from facial_emotion_client.client import AsyncEmotionClient
from facial_emotion_client.folder import Tally, label_folder
from facial_emotion_client.images import ENDINGS
from facial_emotion_client.results import EmotionError
from facial_emotion_client.retry import BUSY
from facial_emotion_client.table import TableError
from facial_emotion_client.waiting import Telling

KEY = "EMOTION_API_KEY"
"""Environment variable with the API key; on the command line all users could read it."""

GOES_ON = "the same command goes on from where it was"

MOST_ENDINGS = 5
"""Names of files may end in anything."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 on an error, 2 with failures in the table."""
    options = build_parser().parse_args(arguments)
    try:
        tally = asyncio.run(label(options))
    except (EmotionError, TableError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        passes = isinstance(error, EmotionError) and error.status in (0, *BUSY)
        if passes and _is_begun(options.out):
            print(GOES_ON, file=sys.stderr)
        return 1
    # asyncio passes on a bare cancellation where a time limit was being cancelled as well.
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(
            f"interrupted; {GOES_ON}" if _is_begun(options.out) else "interrupted", file=sys.stderr
        )
        return 130
    print(_printable(f"{options.out}: {describe(tally)}"))
    return 2 if tally.failed or tally.failed_before else 0


def _is_begun(out: Path) -> bool:
    # Path.exists raises an error in a folder that may not be searched.
    return os.path.exists(out)  # noqa: PTH110


def _printable(text: str) -> str:
    """Without what the output cannot show: a name of any bytes is no reason for a traceback."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def describe(tally: Tally) -> str:
    """The counts in words."""
    words = f"{tally.labelled} labelled, {tally.failed} failed"
    if tally.labelled_before or tally.failed_before:
        words += f"; before: {tally.labelled_before} labelled, {tally.failed_before} failed"
    if tally.failed_before:
        words += " (--retry does these again)"
    return words + _describe_others(tally.others)


def _describe_others(others: Counter[str]) -> str:
    count = others.total()
    if not count:
        return ""
    endings = sorted(ending or "no ending" for ending, _ in others.most_common(MOST_ENDINGS))
    shown = ", ".join(endings) + (", ..." if len(others) > MOST_ENDINGS else "")
    files = "file of another kind" if count == 1 else "files of other kinds"
    return f"; {count} {files} left out ({shown})"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    text = f"The same command again goes on from where it was. {KEY} holds the API key, if any."
    parser = argparse.ArgumentParser(prog="facial-emotion", description=__doc__, epilog=text)
    text = f"searched with all folders in it for files that end in {', '.join(ENDINGS)}"
    parser.add_argument("folder", type=Path, help=text)
    text = "table to write, one for each folder: .csv, .json or .jsonl (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("labels.csv"), help=text)
    parser.add_argument("--url", default="http://localhost:3000", help="default: %(default)s")
    text = "find the faces in each image, a row for each; else an image is one face"
    parser.add_argument("--faces", action="store_true", help=text)
    text = "do images again whose rows say that they failed"
    parser.add_argument("--retry", action="store_true", help=text)
    text = "most images a request (default: %(default)s)"
    parser.add_argument("--group-size", type=int, default=32, help=text)
    text = "most requests at once (default: %(default)s)"
    parser.add_argument("--parallel", type=int, default=4, help=text)
    text = "seconds to keep trying while the service is busy or away (default: %(default)s)"
    parser.add_argument("--patience", type=float, default=60, help=text)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


async def label(options: argparse.Namespace) -> Tally:
    """Do what the options say."""
    retry, key = Telling(total=options.patience), os.environ.get(KEY)
    async with AsyncEmotionClient(options.url, key=key, retry=retry) as client:
        return await label_folder(
            client,
            options.folder,
            options.out,
            faces=options.faces,
            retry=options.retry,
            group_size=options.group_size,
            parallel=options.parallel,
            quiet=options.quiet,
        )


if __name__ == "__main__":
    sys.exit(main())
