"""A training's curve on disk: a csv of figures, a row an epoch."""

import csv
from collections.abc import Sequence
from pathlib import Path

Columns = dict[str, list[float]]
"""Each figure's values, one an epoch."""


def read_history(path: Path) -> Columns:
    """The figures in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: a figure is no number.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Replace a file by the figures that all epochs have: a newer version may have added some."""
    names = [name for name in history[0] if all(name in figures for figures in history)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
