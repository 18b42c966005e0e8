"""A study's report: its best trials over the epochs, what mattered, what it cost, as one page."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Final

from optuna import Study
from optuna.trial import FrozenTrial

from search.confirmation import Confirmed, best_trials, rank_confirmed
from search.errors import StudyError
from search.layers_figure import draw_layers
from search.lineage import find_confirmation, pick_trial
from search.outcome import (
    front_trials,
    has_several,
    is_interrupted,
    is_refused,
    read_accuracy,
    tell_kind,
    tell_none_complete,
    tell_reason,
    tell_state,
)
from search.page import Picture, Table, write_page
from search.space import used_choices
from search.storage import connect
from search.study import Protocol, find_study
from search.study_figures import (
    draw_cost,
    draw_epochs,
    draw_history,
    draw_importances,
    draw_slices,
)
from service.network import config_from_dict

SHOWN: Final = 6
"""The best and the next five, as in the paper's figure 2."""

MIN_TRIALS: Final = 20
"""Complete trials from which importances say something: PED-ANOVA looks at the best tenth."""


def write_study_report(storage: str, name: str, out: Path) -> Path:
    """Write `report.html`, its pictures, `trials.csv` and `confirmation.csv` into `out`.

    Args:
        storage: database URL, or a path for SQLite.
        name: of the study.
        out: folder, made if missing.

    Returns:
        The page.

    Raises:
        StudyError: the storage cannot be reached, or has no such study with a complete trial.
    """
    connection = connect(storage, create=False)
    study, protocol = find_study(connection, name)
    best = best_trials(study)
    if not best:
        raise StudyError(tell_none_complete(study))
    confirmation = find_confirmation(connection, name)
    confirmed = rank_confirmed(study, confirmation) if confirmation else []
    out.mkdir(parents=True, exist_ok=True)
    write_trials(out / "trials.csv", study)
    if confirmation:
        write_trials(out / "confirmation.csv", confirmation)
    page = out / "report.html"
    write_page(page, f"Study {name}", collect_parts(study, protocol, best, confirmed))
    return page


def collect_parts(
    study: Study, protocol: Protocol, best: list[FrozenTrial], confirmed: list[Confirmed]
) -> list[Picture | Table]:
    """The page's pictures and tables, in their order.

    Args:
        study: of the trials.
        protocol: of the study.
        best: complete trials, best first; at least one.
        confirmed: the configurations that were trained again.
    """
    chosen = pick_trial(study, confirmed, None)[0]
    return [
        tabulate_protocol(study, protocol),
        Picture(
            "epochs",
            "The best trials over the epochs",
            "Validation accuracy of the best trial and the next five.",
            draw_epochs(best[:SHOWN]),
        ),
        tabulate_best(best[:SHOWN]),
        *([tabulate_front(front_trials(study))] if has_several(study) else []),
        *([tabulate_confirmed(confirmed)] if confirmed else []),
        Picture(
            "history",
            "The trained trials",
            "In the order they were begun, without those that were too large to train or were "
            "interrupted.",
            draw_history(study),
        ),
        Picture(
            "cost",
            "Accuracy against cost",
            "Nothing is both cheaper and better than a trial on the line.",
            draw_cost(best),
        ),
        tell_importances(study, len(best)),
        Picture(
            "slices",
            "Accuracy against each choice",
            "A dot for each trial that has the choice, and a bar at the mean of each value that "
            "several trials have. Choices that took one value only are left out.",
            draw_slices(best),
        ),
        Picture(
            "network",
            f"The network of trial {chosen.number}, layer by layer",
            "Shapes are channels x height x width. Parameters are counted as Keras does, with the "
            "running statistics of batch norms, which are not trained.",
            draw_layers(config_from_dict(chosen.user_attrs["network"])),
        ),
    ]


def write_trials(path: Path, study: Study) -> None:
    """All trials as csv, a row each.

    Columns: number; state (Optuna's, or INTERRUPTED where another trial fills the slot);
    validation accuracy, 0 to 1; duration in seconds; the accuracy on the validation images that
    are not also in train, and on train; slot, the trial's place in the study, which fixes its
    seed; the search's trial that a trial of a confirmation repeats; cost; pace; the reason of its
    end; its choices.
    """
    trials = study.get_trials(deepcopy=False)
    cost = ("parameters", "flops", "images_per_second")
    facts = ("unseen_accuracy", "train_accuracy", "slot", "confirms", *cost)
    names = sorted({name for trial in trials for name in trial.params})
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "state", "accuracy", "seconds", *facts, "reason", *names])
        for trial in trials:
            seconds = trial.duration.total_seconds() if trial.duration else ""
            writer.writerow(
                [trial.number, tell_state(trial).upper()]
                + [read_accuracy(trial) if trial.values else "", seconds]
                + [trial.user_attrs.get(fact, "") for fact in facts]
                + [tell_reason(trial)]
                + [trial.params.get(name, "") for name in names]
            )


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


def tell_importances(study: Study, complete: int) -> Picture | Table:
    """The importances' picture, or why there is none."""
    title = "Importance of the choices"
    if complete < MIN_TRIALS:
        words = f"Told from {MIN_TRIALS} complete trials on; this study has {complete}."
        return Table(title, (), (), words)
    caption = "For accuracy, by PED-ANOVA (Watanabe et al., 2023), as shares; small ones are noise."
    return Picture("importances", title, caption, draw_importances(study))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
