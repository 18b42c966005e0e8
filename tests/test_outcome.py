from typing import Any

import optuna
import pytest
from optuna import Study, create_trial
from optuna.trial import TrialState

from search.study.outcome import is_refused, tell_kind, tell_none_complete, tell_reason, tell_state


def add(study: Study, state: TrialState, **attributes: Any) -> None:
    values = [0.5] if state == TrialState.COMPLETE else None
    study.add_trial(create_trial(state=state, values=values, user_attrs=attributes))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("too large: 676,089,344 FLOPs, at most 300,000,000", "over 300 MFLOP"),
        ("too large: 61,234 parameters, at most 50,000", "over 50,000 parameters"),
        ("the loss of epoch 17 is not finite", "the loss is not finite"),
        ("out of memory", "out of memory"),
    ],
)
def test_reasons_of_a_kind_are_one(reason: str, kind: str) -> None:
    assert tell_kind(reason) == kind


def test_an_interrupted_trial_is_no_failure() -> None:
    study = optuna.create_study()
    add(study, TrialState.FAIL, interrupted=True)
    add(study, TrialState.FAIL)
    add(study, TrialState.FAIL, reason="out of memory")
    add(study, TrialState.COMPLETE)
    told = [(tell_state(trial), tell_reason(trial)) for trial in study.trials]
    assert told == [
        ("interrupted", "stopped"),
        ("interrupted", "its worker died"),
        ("fail", "out of memory"),
        ("complete", ""),
    ]


def test_a_study_without_a_complete_trial_says_why() -> None:
    study = optuna.create_study(study_name="s")
    for flops, parameters in ((412_345_678, 900), (500_000_000, 800)):
        reason = f"too large: {flops:,} FLOPs, at most 300,000,000"
        add(study, TrialState.PRUNED, reason=reason, flops=flops, parameters=parameters)
    add(study, TrialState.FAIL, reason="out of memory")
    assert [is_refused(trial) for trial in study.trials] == [True, True, False]
    assert tell_none_complete(study) == (
        "study s has no complete trial: over 300 MFLOP (2), out of memory (1); "
        "the least seen: 412 MFLOP, 800 parameters; "
        "more --trials may find smaller ones, another --study may have other bounds"
    )
