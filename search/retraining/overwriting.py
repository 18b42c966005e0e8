"""What a command must not write over."""

from collections.abc import Iterable
from pathlib import Path


def is_of_run(out: Path, runs: Iterable[Path]) -> bool:
    """Whether a folder is one of these artifacts, or the folder of a training that made one."""
    folders = [run.resolve() for run in runs]
    return out.resolve() in {*folders, *(folder.parent for folder in folders)}
