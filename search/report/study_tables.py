"""Tables of a study's report."""

import math
from collections import Counter

from optuna import Study
from optuna.trial import FrozenTrial

from search.report.page import Table
from search.study.confirmation import Confirmed
from search.study.outcome import (
    is_interrupted,
    is_refused,
    read_accuracy,
    tell_kind,
    tell_reason,
    tell_state,
)
from search.study.space import used_choices
from search.study.study import Protocol


def tabulate_protocol(study: Study, protocol: Protocol) -> Table:
    """What was searched, and how its trials ended."""
    trials = study.get_trials(deepcopy=False)
    trained = [trial for trial in trials if not is_refused(trial)]
    ends = Counter(
        f"{tell_state(trial)} trials" + (f", {tell_kind(reason)}" if reason else "")
        for trial, reason in ((trial, tell_reason(trial)) for trial in trained)
    )
    refused = Counter(tell_kind(tell_reason(trial)) for trial in trials if is_refused(trial))
    bounds = {"parameters": protocol.max_parameters, "FLOPs": protocol.max_flops}
    rows = [
        ["space", protocol.space],
        ["objectives", protocol.objectives],
        ["sampler, pruner, seed", f"{protocol.sampler}, {protocol.pruner}, {protocol.seed}"],
        ["epochs a trial", str(protocol.epochs)],
        *([f"most {name}", f"{bound:,}"] for name, bound in bounds.items() if bound),
        *([end, str(count)] for end, count in ends.most_common()),
        *([f"not trained, {reason}", str(count)] for reason, count in refused.most_common()),
    ]
    interrupted = any(is_interrupted(trial) for trial in trials)
    caption = "What was interrupted is done again by a trial of another number." * interrupted
    return Table("The search", ("", ""), rows, caption)


def tabulate_best(best: list[FrozenTrial]) -> Table:
    """The best trials with their cost and choices."""
    caption = "Chosen among many on one split, so part luck; the confirmation says how much."
    return _tabulate_trials("The best trials", best, caption)


def tabulate_front(front: list[FrozenTrial]) -> Table:
    """The Pareto front of accuracy and FLOPs with each trial's choices."""
    caption = (
        "Cheapest first. To any trial that is not listed there is one here that costs no more and "
        "is at least as accurate."
    )
    return _tabulate_trials("The Pareto front", front, caption)


def _tabulate_trials(title: str, trials: list[FrozenTrial], caption: str) -> Table:
    rows = [
        [
            str(trial.number),
            f"{read_accuracy(trial):.2%}",
            _share(trial.user_attrs.get("unseen_accuracy")),
            f"{trial.user_attrs['parameters']:,}",
            f"{trial.user_attrs['flops'] / 1e6:,.0f}",
            ", ".join(f"{name} {_short(value)}" for name, value in used_choices(trial).items()),
        ]
        for trial in trials
    ]
    accuracy = ("validation accuracy", "not in train")
    header = ("trial", *accuracy, "parameters", "MFLOP an image", "choices")
    return Table(title, header, rows, caption)


def tabulate_confirmed(confirmed: list[Confirmed]) -> Table:
    """Mean and standard error over seeds that chose nothing."""
    rows = [
        [
            str(one.trial),
            f"{one.searched:.2%}",
            f"{one.mean:.2%}",
            "" if math.isnan(one.standard_error) else f"{one.standard_error:.2%}",
            _share(one.unseen),
            str(len(one.values)),
            f"{one.flops / 1e6:,.0f}",
        ]
        for one in confirmed
    ]
    again = ("mean again", "standard error", "mean not in train")
    header = ("trial", "in the search", *again, "seeds", "MFLOP an image")
    return Table("Confirmation with other seeds", header, rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
