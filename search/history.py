"""A training's curve on disk: a csv of figures, a row an epoch."""

import csv
from collections.abc import Sequence
from pathlib import Path

Columns = dict[str, list[float]]
"""Each figure's values, one an epoch."""


def read_history(path: Path) -> Columns:
    """The figures in a file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Replace a file by the figures of each epoch."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
