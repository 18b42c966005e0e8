from typing import Literal

import optuna
from optuna import Study, create_trial
from optuna.distributions import IntDistribution

from search.confirmation import pick_for_confirmation


def make_study(directions: list[Literal["maximize", "minimize"]]) -> Study:
    """Trials that are the better the more they cost, but for the last."""
    study = optuna.create_study(directions=directions)
    for cost, accuracy in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5), (6, 0.3)):
        trial = create_trial(
            values=[accuracy, cost][: len(directions)],
            params={"x": cost},
            distributions={"x": IntDistribution(1, 6)},
            user_attrs={"flops": cost},
        )
        study.add_trial(trial)
    return study


def test_the_front_is_thinned_evenly() -> None:
    study = make_study(["maximize", "minimize"])
    assert [t.number for t in pick_for_confirmation(study, 9)] == [0, 1, 2, 3, 4]
    assert [t.number for t in pick_for_confirmation(study, 3)] == [0, 2, 4]
    assert [t.number for t in pick_for_confirmation(study, 1)] == [4]
    assert pick_for_confirmation(study, 0) == []


def test_of_one_objective_the_best_are_picked() -> None:
    assert [t.number for t in pick_for_confirmation(make_study(["maximize"]), 2)] == [4, 3]
