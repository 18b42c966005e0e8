"""A study's pictures: its trials over the epochs, what they cost, and what their choices did."""

import warnings
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    Formatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)
from optuna import Study, create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.curve import read_curve
from search.study.outcome import find_front, is_interrupted, read_accuracy
from search.study.space import used_choices

TICKS: Final = 6
"""Values of a choice up to which each has its own tick."""


def draw_epochs(best: list[FrozenTrial]) -> Figure:
    """Validation accuracy after each epoch, a line a trial."""
    figure = Figure(figsize=(8, 4.5))
    axis = figure.subplots()
    for place, trial in enumerate(best):
        curve = read_curve(trial)
        label = f"trial {trial.number}, {read_accuracy(trial):.2%}"
        # A single epoch makes no line.
        style: dict[str, Any] = {
            "linewidth": 1 if place else 2.5,
            "marker": "o" if len(curve) == 1 else "",
        }
        axis.plot(list(curve), list(curve.values()), label=label, **style)
    axis.set(xlabel="epoch", ylabel="validation accuracy")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def draw_history(study: Study) -> Figure:
    """Last accuracy of every trial that was trained, and the best complete one so far."""
    # A slot's next trial goes on before others with lower numbers that wait.
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: str(trial.datetime_start))
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
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
        axis.set(xlabel=label)
        axis.margins(0.1)
        _scale_logarithmically(axis, costs.max() / costs.min(), EngFormatter(sep=" "))
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="validation accuracy")
    return figure


def draw_importances(study: Study) -> Figure:
    """How far each choice tells the best tenth of the trials from the rest."""
    with warnings.catch_warnings():
        # Experimental, and with a target it says each time that low values count as good.
        warnings.simplefilter("ignore")
        found = get_param_importances(
            with_used_choices(study),
            evaluator=PedAnovaImportanceEvaluator(),
            target=lambda trial: -read_accuracy(trial),
        )
    names = sorted(found, key=lambda name: found[name])
    figure = Figure(figsize=(8, 0.4 * len(names) + 1))
    axis = figure.subplots()
    axis.barh(names, [found[name] for name in names])
    axis.set(xlabel="importance")
    return figure


def with_used_choices(study: Study) -> Study:
    """The complete trials, each with the choices alone that its network shows, in memory."""
    shown = create_study(
        storage=InMemoryStorage(), directions=study.directions, study_name=study.study_name
    )
    for trial in study.get_trials(deepcopy=True, states=(TrialState.COMPLETE,)):
        trial.params = used_choices(trial)
        trial.distributions = {name: trial.distributions[name] for name in trial.params}
        shown.add_trial(trial)
    return shown


def draw_slices(trials: list[FrozenTrial], columns: int = 4) -> Figure:
    """Accuracy against each parameter, a panel each."""
    tried: dict[str, set[Any]] = {}
    for trial in trials:
        for name, choice in used_choices(trial).items():
            tried.setdefault(name, set()).add(choice)
    names = sorted(name for name in tried if len(tried[name]) > 1) or sorted(tried)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis in axes[len(names) :]:
        axis.axis("off")
    distributions = {name: d for trial in trials for name, d in trial.distributions.items()}
    for axis, name in zip(axes, names, strict=False):
        pairs = [(t.params[name], read_accuracy(t)) for t in trials if name in used_choices(t)]
        _draw_slice(axis, pairs, distributions[name])
        axis.set(xlabel=name)
    figure.supylabel("validation accuracy", fontsize=10)
    return figure


def _draw_slice(axis: Any, pairs: list[tuple[Any, float]], distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        pairs = sorted((str(choice), value) for choice, value in pairs)
    axis.scatter(*zip(*pairs, strict=True), s=10, alpha=0.6)
    values: dict[Any, list[float]] = {}
    for choice, value in sorted(pairs):
        values.setdefault(choice, []).append(value)
    means = [np.mean(found) if len(found) > 1 else np.nan for found in values.values()]
    axis.plot(list(values), means, "C1_-", markersize=12, linewidth=1)
    if getattr(distribution, "log", False):
        _scale_logarithmically(axis, max(values) / min(values), StrMethodFormatter("{x:g}"))
    elif isinstance(distribution, IntDistribution) and len(values) <= TICKS:
        axis.set_xticks(list(values))
    elif isinstance(distribution, IntDistribution):
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(alpha=0.3)


def _scale_logarithmically(axis: Any, span: float, formatter: Formatter) -> None:
    """A logarithmic axis with few round ticks, whether its values span decades or a part of one.

    Args:
        axis: whose x axis to set.
        span: the largest value by the smallest.
        formatter: of the ticks.
    """
    axis.set(xscale="log")
    subs = (1, 2, 5) if span < 10 else (1, 3) if span <= 100 else (1,)
    axis.xaxis.set_major_locator(MaxNLocator(3) if span < 5 else LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_minor_formatter(NullFormatter())
