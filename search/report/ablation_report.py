"""An ablation's outcome: a table as CSV, Markdown and a page with a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from search.ablation.effect import Effect
from search.ablation.ideas import BASE, list_changes
from search.report.page import Picture, Table, write_page

HEADER: Final = (
    "idea",
    "change",
    "seeds",
    "accuracy",
    "difference to base",
    "kept",
    "not in train",
)
RULE: Final = (
    "Validation accuracy, mean ± standard error over the seeds. An idea is kept where three seeds "
    "or more show a gain of more than twice its standard error; about one useless idea in twenty "
    "passes. Not in train: the mean on the validation images that do not also stand there."
)


def write_ablation_report(effects: Sequence[Effect], out: Path) -> Path:
    """Write `ablation.csv`, `ablation.md`, `ablation.png` and the page `report.html`.

    Returns:
        The page.
    """
    write_csv(out / "ablation.csv", effects)
    rows = [tabulate(effect) for effect in effects]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "ablation.md").write_text(f"{text}\n\n{RULE}\n", encoding="utf-8")
    caption = "Dots are seeds, bars twice the difference's standard error; the line is the base."
    picture = Picture("ablation", "Difference to the base", caption, draw_effects(effects))
    page = out / "report.html"
    write_page(page, "Ablation", [Table("The ideas", HEADER, rows, RULE), picture])
    return page


def write_csv(path: Path, effects: Sequence[Effect]) -> None:
    """All figures, shares from 0 to 1; empty where there is none, as of a single seed's error."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = ("idea", "seeds", "mean", "error", "difference", "difference_error", "kept")
        writer.writerow([*names, "values", "unseen_mean"])
        for effect in effects:
            figures = [
                effect.mean,
                effect.standard_error,
                effect.difference,
                effect.difference_error,
            ]
            if effect.idea == BASE:
                figures[2:] = (math.nan, math.nan)
            cells = ["" if math.isnan(value) else f"{value:.6f}" for value in figures]
            values = " ".join(f"{value:.6f}" for value in effect.values)
            unseen = "" if effect.unseen is None else f"{effect.unseen:.6f}"
            writer.writerow([effect.idea, len(effect.values), *cells, effect.kept, values, unseen])


def tabulate(effect: Effect) -> tuple[str, ...]:
    """One row of text."""
    changes = list_changes(effect.idea).items()
    words = ", ".join(f"{name} {value}" for name, value in changes)
    mean = f"{effect.mean:.2%}{_plus_minus(effect.standard_error)}"
    unseen = "" if effect.unseen is None else f"{effect.unseen:.2%}"
    if effect.idea == BASE:
        return (BASE, "", str(len(effect.values)), mean, "", "", unseen)
    difference = f"{effect.difference * 100:+.2f}{_plus_minus(effect.difference_error)} points"
    kept = "yes" if effect.kept else "no"
    return (effect.idea, words, str(len(effect.values)), mean, difference, kept, unseen)


def draw_effects(effects: Sequence[Effect]) -> Figure:
    """Each idea's gain or loss in points, the best on top."""
    ranked = sorted((e for e in effects if e.idea != BASE), key=lambda effect: effect.difference)
    figure = Figure(figsize=(8, 0.4 * len(ranked) + 1.2))
    axis = figure.subplots()
    axis.axvline(0, color="k", linewidth=1)
    for row, effect in enumerate(ranked):
        base = effect.mean - effect.difference
        bar = 0.0 if math.isnan(effect.difference_error) else 200 * effect.difference_error
        colour = "C2" if effect.kept else "C0"
        axis.errorbar(effect.difference * 100, row, xerr=bar, fmt="D", color=colour, capsize=4)
        points = [(value - base) * 100 for value in effect.values]
        axis.scatter(points, [row] * len(points), s=14, color="grey", alpha=0.7)
    axis.set_yticks(range(len(ranked)), [effect.idea for effect in ranked])
    axis.set(xlabel="difference to the base, points of validation accuracy")
    axis.grid(alpha=0.3)
    return figure


def _plus_minus(error: float) -> str:
    return "" if math.isnan(error) else f" ± {error * 100:.2f}"
