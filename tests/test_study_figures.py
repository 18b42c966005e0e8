from itertools import pairwise
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure
from optuna import create_trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from search.report.study_figures import draw_cost, draw_epochs, draw_slices


def make(distribution: BaseDistribution, *choices: Any) -> list[FrozenTrial]:
    """A trial for each choice of `x`, the later the better."""
    study = optuna.create_study()
    for place, choice in enumerate(choices):
        trial = create_trial(
            value=place / 10,
            params={"x": choice},
            distributions={"x": distribution},
            intermediate_values={1: place / 10},
        )
        study.add_trial(trial)
    return study.trials


def shown_ticks(figure: Figure, panel: int = 0) -> list[str]:
    """Labels within the axis; fails where two of them overlap."""
    figure.draw_without_rendering()
    axis = figure.axes[panel]
    low, high = sorted(axis.get_xlim())
    labels = [
        tick.label1
        for tick in axis.xaxis.get_major_ticks() + axis.xaxis.get_minor_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    return [label.get_text() for label in labels]


@pytest.mark.parametrize(("low", "high"), [(2.1e-3, 2.4e-3), (1e-3, 6e-3), (3e-4, 1e-2), (1e-5, 1)])
def test_logarithmic_ticks_are_some_and_apart(low: float, high: float) -> None:
    figure = draw_slices(make(FloatDistribution(1e-6, 1, log=True), low, high))
    assert 2 <= len(shown_ticks(figure)) <= 6


def test_costs_within_a_decade_have_ticks() -> None:
    trials = make(IntDistribution(1, 2), 1, 2)
    for trial, flops in zip(trials, (1.1e8, 1.3e8), strict=True):
        trial.set_user_attr("flops", flops)
        trial.set_user_attr("parameters", flops)
    assert len(shown_ticks(draw_cost(trials))) >= 2


def test_only_values_of_several_trials_have_a_mean() -> None:
    (axis, *_) = draw_slices(make(IntDistribution(1, 9), 1, 2, 2, 9)).axes
    (line,) = axis.lines
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [np.nan, 0.15, np.nan])


def test_each_choice_is_a_tick() -> None:
    choices = CategoricalDistribution([1.5, 2.0])
    assert shown_ticks(draw_slices(make(choices, 2.0, 1.5, 2.0))) == ["1.5", "2.0"]


def test_a_single_epoch_is_a_dot_on_a_whole_number() -> None:
    figure = draw_epochs(make(IntDistribution(1, 2), 1, 2))
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "o"]
    assert shown_ticks(figure) == ["1"]
