"""What a trial came to, in a study of one objective or of several."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from search.study.slots import is_done, settled_trials

TOO_LARGE = re.compile(r"too large: [\d,]+ (parameters|FLOPs), at most ([\d,]+)")
"""Reason of a trial whose network was refused untrained."""


def read_accuracy(trial: FrozenTrial) -> float:
    """Validation accuracy, 0 to 1, of a trial that has values: always the first of them."""
    return float(trial.values[0])


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether the trial was stopped, or its worker died: another trial fills its slot."""
    return trial.state == TrialState.FAIL and not is_done(trial)


def is_refused(trial: FrozenTrial) -> bool:
    """Whether the network was too large to be trained."""
    return bool(TOO_LARGE.fullmatch(tell_reason(trial)))


def count_trained(study: Study, wanted: Collection[int]) -> int:
    """How many of the wanted slots were settled by a training, to its end or until pruned."""
    ends = (TrialState.COMPLETE, TrialState.PRUNED)
    settled = settled_trials(study, wanted)
    return sum(trial.state in ends and not is_refused(trial) for trial in settled)


def tell_state(trial: FrozenTrial) -> str:
    """Optuna's name of the trial's state in lower case, or `interrupted`."""
    return "interrupted" if is_interrupted(trial) else trial.state.name.lower()


def tell_reason(trial: FrozenTrial) -> str:
    """Why the trial ended without a value; empty where it did not."""
    if is_interrupted(trial):
        return "stopped" if "interrupted" in trial.user_attrs else "its worker died"
    return str(trial.user_attrs.get("reason", ""))


def tell_kind(reason: str) -> str:
    """A reason without what differs from trial to trial."""
    found = TOO_LARGE.fullmatch(reason)
    if not found:
        return re.sub(r"the loss of epoch \d+ is", "the loss is", reason)
    bound = int(found[2].replace(",", ""))
    return f"over {bound / 1e6:,g} MFLOP" if found[1] == "FLOPs" else f"over {bound:,} parameters"


def tell_none_complete(study: Study) -> str:
    """That the study has no complete trial, how its trials ended, and the least they cost."""
    trials = study.get_trials(deepcopy=False)
    ends = Counter(tell_kind(tell_reason(trial)) or tell_state(trial) for trial in trials)
    words = f"study {study.study_name} has no complete trial"
    if ends:
        words += ": " + ", ".join(f"{end} ({count})" for end, count in ends.most_common())
    return words + _tell_least([trial for trial in trials if is_refused(trial)])


def _tell_least(refused: Sequence[FrozenTrial]) -> str:
    if not refused:
        return ""
    flops, parameters = (
        min(trial.user_attrs[fact] for trial in refused) for fact in ("flops", "parameters")
    )
    return (
        f"; the least seen: {flops / 1e6:,.0f} MFLOP, {parameters:,} parameters; "
        "more --trials may find smaller ones, another --study may have other bounds"
    )


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
