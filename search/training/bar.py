"""How far a loop is that may take minutes."""

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import parent_process
from typing import Final, TypeVar

from tqdm import tqdm

from search.training.distributed import rank

Item = TypeVar("Item")

QUIET_SECONDS: Final = 30.0
"""Between two lines where stderr is no terminal."""


def bar(items: Sequence[Item], words: str) -> Iterable[Item]:
    """The items, with a bar on stderr, or where that is no terminal a line each half minute.

    Nothing in worker processes, which all have the same terminal, and none for a single item.
    """
    if parent_process() is not None or rank() > 0 or len(items) < 2:
        return items
    if sys.stderr.isatty():
        # Some terminals do not tell their width, and tqdm would draw nothing.
        columns = shutil.get_terminal_size().columns
        drawn: Iterable[Item] = tqdm(items, words, leave=False, ncols=columns)
        return drawn
    return _tell(items, words)


def _tell(items: Sequence[Item], words: str) -> Iterator[Item]:
    told = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - told >= QUIET_SECONDS:
            print(f"{words}: {number} of {len(items)}", file=sys.stderr, flush=True)
            told = time.monotonic()
        yield item
