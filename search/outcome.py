"""What a trial came to, in a study of one objective or of several."""

import numpy as np
from optuna import Study, Trial
from optuna.trial import FrozenTrial, TrialState

CURVE = "curve"
"""Attribute with the accuracy after each epoch: Optuna reports values of one objective only."""


def report_accuracy(trial: Trial, epoch: int, accuracy: float) -> None:
    """Keep the validation accuracy after an epoch, counted from 1."""
    if not has_several(trial.study):
        trial.report(accuracy, epoch)
        return
    trial.set_user_attr(CURVE, [*trial.user_attrs.get(CURVE, []), accuracy])


def read_accuracy(trial: FrozenTrial) -> float:
    """Validation accuracy, 0 to 1, of a trial that has values: always the first of them."""
    return float(trial.values[0])


def read_curve(trial: FrozenTrial) -> dict[int, float]:
    """Validation accuracy after each epoch, counted from 1, in order."""
    reported = trial.intermediate_values or dict(enumerate(trial.user_attrs.get(CURVE, []), 1))
    return dict(sorted(reported.items()))


def front_trials(study: Study) -> list[FrozenTrial]:
    """The complete trials on the Pareto front of accuracy and FLOPs, cheapest first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not trials:
        return []
    costs = np.array([trial.user_attrs["flops"] for trial in trials], float)
    front = find_front(costs, np.array([read_accuracy(trial) for trial in trials]))
    return [trials[row] for row in front]


def find_front(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows of the Pareto front by rising cost: each is better than all that cost no more.

    Args:
        costs: float (N,), less is better.
        values: float (N,), more is better.
    """
    order = np.lexsort((-values, costs))
    best = np.maximum.accumulate(values[order])
    rises = np.concatenate(([True], best[1:] > best[:-1]))
    return np.asarray(order[rises])


def has_several(study: Study) -> bool:
    """Whether the study has several objectives."""
    return len(study.directions) > 1
