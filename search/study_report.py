"""A study's report: its best trials over the epochs, what mattered, what it cost, as one page."""

import csv
import math
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from optuna import Study
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from search.confirmation import Confirmed, best_trials, rank_confirmed
from search.errors import StudyError
from search.layers_figure import draw_layers
from search.lineage import find_confirmation
from search.outcome import (
    find_front,
    front_trials,
    has_several,
    is_interrupted,
    read_accuracy,
    read_curve,
    tell_kind,
    tell_none_complete,
    tell_reason,
    tell_state,
)
from search.page import Picture, Table, write_page
from search.storage import connect
from search.study import Protocol, find_study
from service.network import config_from_dict

SHOWN: Final = 6
"""The best and the next five, as in the paper's figure 2."""

TICKS: Final = 6
"""Values of a choice up to which each has its own tick."""

MIN_TRIALS: Final = 20
"""Complete trials from which importances say something: PED-ANOVA looks at the best tenth."""


def write_study_report(storage: str, name: str, out: Path) -> Path:
    """Write `report.html`, its pictures and `trials.csv` into `out`.

    Args:
        storage: database URL, or a path for SQLite.
        name: of the study.
        out: folder, made if missing.

    Returns:
        The page.

    Raises:
        StudyError: the storage cannot be reached, or has no such study with a complete trial.
    """
    connection = connect(storage, create=False)
    study, protocol = find_study(connection, name)
    best = best_trials(study)
    if not best:
        raise StudyError(tell_none_complete(study))
    confirmation = find_confirmation(connection, name)
    confirmed = rank_confirmed(study, confirmation) if confirmation else []
    parts: list[Picture | Table] = [
        tabulate_protocol(study, protocol),
        Picture(
            "epochs",
            "The best trials over the epochs",
            "Validation accuracy of the best trial and the next five.",
            draw_epochs(best[:SHOWN]),
        ),
        tabulate_best(best[:SHOWN]),
        *([tabulate_front(front_trials(study))] if has_several(study) else []),
        *([tabulate_confirmed(confirmed)] if confirmed else []),
        Picture(
            "history",
            "The trained trials",
            "In the order they were begun, without those that were too large to train or were "
            "interrupted.",
            draw_history(study),
        ),
        Picture(
            "cost",
            "Accuracy against cost",
            "Nothing is both cheaper and better than a trial on the line.",
            draw_cost(best),
        ),
        *([draw_importances(study)] if len(best) >= MIN_TRIALS else []),
        Picture(
            "slices",
            "Accuracy against each choice",
            "A dot a trial that has the choice, and the mean where a value came up repeatedly. "
            "Choices that took one value only are left out.",
            draw_slices(best),
        ),
        Picture(
            "network",
            f"The network of trial {best[0].number}, layer by layer",
            "Shapes are channels x height x width.",
            draw_layers(config_from_dict(best[0].user_attrs["network"])),
        ),
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_trials(out / "trials.csv", study)
    page = out / "report.html"
    write_page(page, f"Study {name}", parts)
    return page


def write_trials(path: Path, study: Study) -> None:
    """All trials as csv, a row each.

    Columns: number; state (Optuna's, or INTERRUPTED where another trial fills the slot);
    validation accuracy, 0 to 1; duration in seconds; slot, the trial's place in the study, which
    fixes its seed; cost; train accuracy; pace; the reason of its end; its choices.
    """
    trials = study.get_trials(deepcopy=False)
    facts = ("slot", "parameters", "flops", "train_accuracy", "images_per_second")
    names = sorted({name for trial in trials for name in trial.params})
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "state", "accuracy", "seconds", *facts, "reason", *names])
        for trial in trials:
            seconds = trial.duration.total_seconds() if trial.duration else ""
            writer.writerow(
                [trial.number, tell_state(trial).upper()]
                + [read_accuracy(trial) if trial.values else "", seconds]
                + [trial.user_attrs.get(fact, "") for fact in facts]
                + [tell_reason(trial)]
                + [trial.params.get(name, "") for name in names]
            )


def tabulate_protocol(study: Study, protocol: Protocol) -> Table:
    """What was searched, and how its trials ended."""
    trials = study.get_trials(deepcopy=False)
    states = Counter(map(tell_state, trials))
    reasons = Counter(tell_kind(reason) for reason in map(tell_reason, trials) if reason)
    bounds = {"parameters": protocol.max_parameters, "FLOPs": protocol.max_flops}
    rows = [
        ["space", protocol.space],
        ["objectives", protocol.objectives],
        ["sampler, pruner, seed", f"{protocol.sampler}, {protocol.pruner}, {protocol.seed}"],
        ["epochs a trial", str(protocol.epochs)],
        *([f"most {name}", f"{bound:,}"] for name, bound in bounds.items() if bound),
        *([f"{state} trials", str(count)] for state, count in states.most_common()),
        *([f"ended: {reason}", str(count)] for reason, count in reasons.most_common()),
    ]
    return Table("The search", ("", ""), rows)


def tabulate_best(best: list[FrozenTrial]) -> Table:
    """The best trials with their cost and choices."""
    caption = "Chosen among many on one split, so part luck; the confirmation says how much."
    return _tabulate_trials("The best trials", best, caption)


def tabulate_front(front: list[FrozenTrial]) -> Table:
    """The Pareto front of accuracy and FLOPs with each trial's choices."""
    caption = "Cheapest first: every other trial costs more or is less accurate than one of these."
    return _tabulate_trials("The Pareto front", front, caption)


def _tabulate_trials(title: str, trials: list[FrozenTrial], caption: str) -> Table:
    rows = [
        [
            str(trial.number),
            f"{read_accuracy(trial):.2%}",
            f"{trial.user_attrs['parameters']:,}",
            f"{trial.user_attrs['flops'] / 1e6:,.0f}",
            ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items()),
        ]
        for trial in trials
    ]
    header = ("trial", "validation accuracy", "parameters", "MFLOP an image", "choices")
    return Table(title, header, rows, caption)


def tabulate_confirmed(confirmed: list[Confirmed]) -> Table:
    """Mean and standard error over seeds that chose nothing."""
    rows = [
        [
            str(one.trial),
            f"{one.searched:.2%}",
            f"{one.mean:.2%}",
            "" if math.isnan(one.standard_error) else f"{one.standard_error:.2%}",
            str(len(one.values)),
            f"{one.flops / 1e6:,.0f}",
        ]
        for one in confirmed
    ]
    header = ("trial", "in the search", "mean again", "standard error", "seeds", "MFLOP an image")
    return Table("Confirmation with other seeds", header, rows)


def draw_epochs(best: list[FrozenTrial]) -> Figure:
    """Validation accuracy after each epoch, a line a trial."""
    figure = Figure(figsize=(8, 4.5))
    axis = figure.subplots()
    for place, trial in enumerate(best):
        curve = read_curve(trial)
        label = f"trial {trial.number}, {read_accuracy(trial):.2%}"
        axis.plot(list(curve), list(curve.values()), label=label, linewidth=1 if place else 2.5)
    axis.set(xlabel="epoch", ylabel="validation accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def draw_history(study: Study) -> Figure:
    """Last accuracy of every trial that was trained, and the best complete one so far."""
    trials = study.get_trials(deepcopy=False)
    trained = [trial for trial in trials if read_curve(trial) and not is_interrupted(trial)]
    last = np.array([list(read_curve(trial).values())[-1] for trial in trained])
    figure = Figure(figsize=(8, 4))
    axis = figure.subplots()
    places = np.arange(1, len(trained) + 1)
    states = np.array([trial.state.name for trial in trained])
    marks = {"COMPLETE": "o", "PRUNED": "x", "FAIL": "+", "RUNNING": "."}
    for state, mark in marks.items():
        rows = states == state
        if rows.any():
            axis.scatter(places[rows], last[rows], marker=mark, s=18, label=state.lower())
    complete = states == "COMPLETE"
    best = np.maximum.accumulate(last[complete])
    axis.step(places[complete], best, "k", where="post", linewidth=1, label="best so far")
    axis.set(xlabel="trained trials", ylabel="validation accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def draw_cost(trials: list[FrozenTrial]) -> Figure:
    """Accuracy against FLOPs and parameters, with the Pareto front of each."""
    figure = Figure(figsize=(10, 4))
    axes = figure.subplots(1, 2, sharey=True)
    values = np.array([read_accuracy(trial) for trial in trials])
    facts = {"flops": "FLOPs an image", "parameters": "parameters"}
    for axis, (fact, label) in zip(axes, facts.items(), strict=True):
        costs = np.array([trial.user_attrs[fact] for trial in trials], float)
        front = find_front(costs, values)
        axis.scatter(costs, values, s=14)
        axis.step(costs[front], values[front], where="post", color="C1")
        axis.scatter(costs[front], values[front], s=24, color="C1", zorder=3)
        for row in front:
            place = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 8}
            axis.annotate(str(trials[row].number), (costs[row], values[row]), **place)
        axis.set(xscale="log", xlabel=label)
        axis.margins(0.1)
        fine = costs.max() < 10 * costs.min()
        ticks = (1, 1.5, 2, 3, 5, 7) if fine else (1, 3)
        axis.xaxis.set_major_locator(LogLocator(subs=ticks))
        axis.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="validation accuracy")
    return figure


def draw_importances(study: Study) -> Picture:
    """How far each choice tells the best tenth of the trials from the rest."""
    with warnings.catch_warnings():
        # Experimental, and with a target it says each time that low values count as good.
        warnings.simplefilter("ignore")
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            target=lambda trial: -read_accuracy(trial),
        )
    names = sorted(found, key=lambda name: found[name])
    figure = Figure(figsize=(8, 0.4 * len(names) + 1))
    axis = figure.subplots()
    axis.barh(names, [found[name] for name in names])
    axis.set(xlabel="importance")
    caption = "For accuracy, by PED-ANOVA (Watanabe et al., 2023), as shares; small ones are noise."
    return Picture("importances", "Importance of the choices", caption, figure)


def draw_slices(trials: list[FrozenTrial], columns: int = 4) -> Figure:
    """Accuracy against each parameter, a panel each."""
    tried: dict[str, set[Any]] = {}
    for trial in trials:
        for name, choice in trial.params.items():
            tried.setdefault(name, set()).add(choice)
    names = sorted(name for name in tried if len(tried[name]) > 1) or sorted(tried)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis in axes[len(names) :]:
        axis.axis("off")
    logarithmic = {n for t in trials for n, d in t.distributions.items() if getattr(d, "log", 0)}
    for axis, name in zip(axes, names, strict=False):
        pairs = [(t.params[name], read_accuracy(t)) for t in trials if name in t.params]
        _draw_slice(axis, pairs)
        axis.set(xlabel=name)
        if name in logarithmic:
            axis.set(xscale="log")
    figure.supylabel("validation accuracy", fontsize=10)
    return figure


def _draw_slice(axis: Any, pairs: list[tuple[Any, float]]) -> None:
    kinds = {type(choice) for choice, _ in pairs}
    if not kinds <= {int, float}:
        pairs = sorted((str(choice), value) for choice, value in pairs)
    axis.scatter(*zip(*pairs, strict=True), s=10, alpha=0.6)
    choices = sorted({choice for choice, _ in pairs})
    if len(choices) <= len(pairs) / 2:
        means = [np.mean([value for c, value in pairs if c == choice]) for choice in choices]
        axis.plot(choices, means, "C1_-", markersize=12, linewidth=1)
    if kinds == {int} and len(choices) <= TICKS:
        axis.set_xticks(choices)
    elif kinds == {int}:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.grid(alpha=0.3)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
