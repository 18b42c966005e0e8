"""A trial's accuracy after each epoch, in a study of one objective or of several."""

from typing import Final

from optuna import Study, Trial
from optuna.trial import FrozenTrial

CURVE: Final = "curve"
"""Attribute with the accuracy after each epoch: Optuna reports values of one objective only."""


def has_several(study: Study) -> bool:
    """Whether the study has several objectives."""
    return len(study.directions) > 1


def report_accuracy(trial: Trial, epoch: int, accuracy: float) -> None:
    """Keep the validation accuracy after an epoch, counted from 1."""
    if not has_several(trial.study):
        trial.report(accuracy, epoch)
        return
    trial.set_user_attr(CURVE, [*trial.user_attrs.get(CURVE, []), accuracy])


def read_curve(trial: FrozenTrial) -> dict[int, float]:
    """Validation accuracy after each epoch, counted from 1, in order."""
    reported = trial.intermediate_values or dict(enumerate(trial.user_attrs.get(CURVE, []), 1))
    return dict(sorted(reported.items()))
