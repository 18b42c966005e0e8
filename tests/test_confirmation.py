from typing import Literal

import optuna
from optuna import Study, create_trial
from optuna.distributions import IntDistribution

from search.confirmation import Confirmed, pick_for_confirmation, rank_confirmed, tell_confirmed


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


def test_a_single_seed_has_no_standard_error() -> None:
    one, two = (Confirmed(3, 0.5, 10**8, values) for values in ((0.4,), (0.4, 0.5)))
    assert tell_confirmed(one) == ("trial 3: searched 50.00%, confirmed 40.00% (1 seed), 100 MFLOP")
    assert "confirmed 45.00% ± 5.00% (2 seeds)" in tell_confirmed(two)


def test_a_confirmation_that_is_not_over_ranks_last() -> None:
    study, confirmation = make_study(["maximize"]), optuna.create_study(direction="maximize")
    for number, value in ((4, 0.52), (4, 0.48), (3, 0.9), (2, 0.6), (2, 0.4)):
        attributes = {"confirms": number, "unseen_accuracy": value - 0.1}
        confirmation.add_trial(create_trial(value=value, user_attrs=attributes))
    confirmation.add_trial(create_trial(value=0.1, user_attrs={"confirms": 3}))
    confirmation.add_trial(create_trial(value=0.6, user_attrs={"confirms": 4}))
    confirmation.add_trial(create_trial(value=0.6, user_attrs={"confirms": 2}))
    ranked = rank_confirmed(study, confirmation)
    assert [(one.trial, len(one.values)) for one in ranked] == [(4, 3), (2, 3), (3, 2)]
    assert ranked[0].unseen is None
