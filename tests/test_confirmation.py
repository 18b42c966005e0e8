from typing import Literal

import optuna
import pytest
from optuna import Study, create_trial
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState

from search.errors import StudyError
from search.study.confirmation import (
    SEEDS_PER_SLOT,
    Confirmed,
    check_origin,
    confirmation_templates,
    pick_for_confirmation,
    rank_confirmed,
    tell_confirmed,
)
from search.study.sampler import derive_seed


def make_study(directions: list[Literal["maximize", "minimize"]]) -> Study:
    """Trials that are the better the more they cost, but for the last."""
    study = optuna.create_study(directions=directions)
    for cost, accuracy in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5), (6, 0.3)):
        trial = create_trial(
            values=[accuracy, cost][: len(directions)],
            params={"x": cost},
            distributions={"x": IntDistribution(1, 6)},
            user_attrs={"flops": cost, "slot": cost - 1},
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


def test_a_configuration_that_was_drawn_twice_is_confirmed_once() -> None:
    study = make_study(["maximize"])
    again = create_trial(
        value=0.45,
        params={"x": 5},
        distributions={"x": IntDistribution(1, 6)},
        user_attrs={"flops": 5, "slot": 6},
    )
    study.add_trial(again)
    assert [t.number for t in pick_for_confirmation(study, 3)] == [4, 3, 2]


def test_the_seeds_of_a_confirmation_are_new() -> None:
    best = make_study(["maximize"]).trials[:2]
    templates = confirmation_templates(best, seeds=3, study_seed=7)
    seeds = {template.user_attrs["seed"] for template in templates.values()}
    assert len(seeds) == len(templates) == 6
    # Slots of a confirmation are also numbers of slots in a long search.
    assert not seeds & {derive_seed(7, slot) for slot in range(2 * SEEDS_PER_SLOT)}


def test_a_single_seed_has_no_standard_error() -> None:
    one, two = (Confirmed(3, 0.5, 10**8, values) for values in ((0.4,), (0.4, 0.5)))
    assert tell_confirmed(one) == ("trial 3: searched 50.00%, confirmed 40.00% (1 seed), 100 MFLOP")
    assert "confirmed 45.00% ± 5.00% (2 seeds)" in tell_confirmed(two)


def test_a_confirmation_that_is_not_over_ranks_last() -> None:
    study, confirmation = make_study(["maximize"]), optuna.create_study(direction="maximize")
    # Trial 2 lost a seed for good, trial 3 has one to come.
    for number, *values in ((4, 0.5, 0.48), (3, 0.9), (2, 0.6)):
        for seed, value in enumerate(values):
            attributes = {
                "confirms": number,
                "slot": number * SEEDS_PER_SLOT + seed,
                "unseen_accuracy": value - 0.1,
            }
            confirmation.add_trial(create_trial(value=value, user_attrs=attributes))
    lost = {"confirms": 2, "slot": 2 * SEEDS_PER_SLOT + 1, "reason": "out of memory"}
    confirmation.add_trial(create_trial(state=TrialState.FAIL, user_attrs=lost))
    ranked = rank_confirmed(study, confirmation)
    assert [(one.trial, len(one.values)) for one in ranked] == [(2, 1), (4, 2), (3, 1)]
    assert ranked[1].unseen == pytest.approx(0.39)


def test_a_configuration_that_had_fewer_seeds_is_not_ranked_last_for_it() -> None:
    study, confirmation = make_study(["maximize"]), optuna.create_study(direction="maximize")
    for number, seeds, done, value in ((3, 3, 3, 0.5), (4, 2, 2, 0.6), (5, 2, 1, 0.7)):
        for index in range(done):
            slot = number * SEEDS_PER_SLOT + index
            attributes = {"confirms": number, "slot": slot, "seeds": seeds}
            confirmation.add_trial(create_trial(value=value, user_attrs=attributes))
    assert [one.trial for one in rank_confirmed(study, confirmation)] == [4, 3, 5]


def test_a_confirmation_of_a_removed_study_is_refused() -> None:
    study, confirmation = (optuna.create_study(direction="maximize") for _ in range(2))
    widths: dict[str, BaseDistribution] = {"width": IntDistribution(8, 64)}
    study.add_trial(create_trial(value=0.5, params={"width": 8}, distributions=widths))
    confirmation.add_trial(
        create_trial(
            value=0.5,
            params={"width": 8},
            distributions=widths,
            user_attrs={"confirms": 0, "slot": 0},
        )
    )
    check_origin(study, confirmation)
    again = optuna.create_study(direction="maximize")
    again.add_trial(create_trial(value=0.5, params={"width": 9}, distributions=widths))
    with pytest.raises(StudyError, match="was removed since then; remove it, too"):
        check_origin(again, confirmation)
