"""A training's curve on disk: a csv of figures, a row an epoch."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from search.errors import DataError
from service.artifact import HISTORY_FILE, write_whole

Columns = dict[str, list[float]]
"""Each figure's values, one an epoch."""


def read_history(path: Path) -> Columns:
    """The figures in a file.

    Raises:
        OSError: it cannot be read.
        DataError: it is torn, or a figure is no number.
    """
    try:
        rows = list(csv.DictReader(path.read_text().splitlines(), strict=True))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (csv.Error, TypeError, ValueError):
        raise DataError(f"{path}: not a table of figures, a row an epoch") from None


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Replace a file by the figures that all epochs have: a newer version may have added some."""
    names = [name for name in history[0] if all(name in figures for figures in history)]
    file = io.StringIO()
    writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_whole(path, file.getvalue().encode())


def copy_history(run: Path, out: Path) -> None:
    """Copy the curve of an artifact, if it has one; a curve in `out` is of another and goes.

    Raises:
        OSError: it cannot be copied.
    """
    (out / HISTORY_FILE).unlink(missing_ok=True)
    if (run / HISTORY_FILE).exists():
        write_whole(out / HISTORY_FILE, (run / HISTORY_FILE).read_bytes())
