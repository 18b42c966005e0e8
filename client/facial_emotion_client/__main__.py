"""Labels a folder of images through a running facial-emotion service."""

import asyncio
import os
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

from facial_emotion_client.client import AsyncEmotionClient
from facial_emotion_client.folder import Tally, label_folder
from facial_emotion_client.options import KEY, build_parser
from facial_emotion_client.results import EmotionError
from facial_emotion_client.retry import BUSY
from facial_emotion_client.table import TableError
from facial_emotion_client.waiting import Telling

RESUME = "run the same command again to resume"

MOST_ENDINGS = 5
"""Names of files may end in anything."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0; 1 on an error; 2 with failures in the table or folders that
        cannot be read; 130 after Ctrl-C.

    Raises:
        SystemExit: status 1 on a wrong option, 0 after `--help`.
    """
    options = build_parser().parse_args(arguments)
    try:
        tally = asyncio.run(label(options))
    except (EmotionError, TableError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.status if isinstance(error, EmotionError) else None
        if status == 401:
            print(f"the key goes into the environment variable {KEY}", file=sys.stderr)
        if status in (0, *BUSY) and _is_begun(options.out):
            print(RESUME, file=sys.stderr)
        return 1
    # asyncio passes on a bare cancellation where a time limit was being cancelled as well.
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(
            f"interrupted; {RESUME}" if _is_begun(options.out) else "interrupted", file=sys.stderr
        )
        return 130
    _say(f"{options.out}: {describe(tally)}")
    return 2 if tally.failed or tally.failed_before or tally.closed else 0


def _is_begun(out: Path) -> bool:
    # Path.exists raises an error in a folder that may not be searched.
    return os.path.exists(out)  # noqa: PTH110


def _say(text: str) -> None:
    """Print, unless nobody reads it: what was done is in the table."""
    try:
        print(_printable(text), flush=True)
    except OSError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(text: str) -> str:
    """Without what the output cannot show: a name of any bytes is no reason for a traceback."""
    # There is no output where it was closed.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def describe(tally: Tally) -> str:
    """The counts in words."""
    words = f"{tally.labelled} labelled, {tally.failed} failed"
    if tally.labelled_before or tally.failed_before:
        words += f"; before: {tally.labelled_before} labelled, {tally.failed_before} failed"
    if tally.failed_before:
        words += " (--retry does these again)"
    if tally.closed:
        words += f"; {len(tally.closed)} folder(s) could not be read, such as {tally.closed[0]}"
    return words + _describe_others(tally.others)


def _describe_others(others: Counter[str]) -> str:
    count = others.total()
    if not count:
        return ""
    endings = sorted(ending or "no ending" for ending, _ in others.most_common(MOST_ENDINGS))
    shown = ", ".join(endings) + (", ..." if len(others) > MOST_ENDINGS else "")
    files = "file of another kind" if count == 1 else "files of other kinds"
    return f"; {count} {files} left out ({shown})"


async def label(options: Namespace) -> Tally:
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
