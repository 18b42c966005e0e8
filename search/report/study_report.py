"""A study's report: its best trials over the epochs, what mattered, what it cost, as one page."""

import csv
from pathlib import Path
from typing import Final

from optuna import Study
from optuna.trial import FrozenTrial

from search.errors import StudyError
from search.report.layers_figure import draw_layers
from search.report.page import Picture, Table, write_page
from search.report.study_figures import (
    draw_cost,
    draw_epochs,
    draw_history,
    draw_importances,
    draw_slices,
)
from search.report.study_tables import (
    tabulate_best,
    tabulate_confirmed,
    tabulate_front,
    tabulate_protocol,
)
from search.study.confirmation import (
    Confirmed,
    best_trials,
    find_confirmation,
    pick_trial,
    rank_confirmed,
)
from search.study.curve import has_several
from search.study.outcome import (
    front_trials,
    read_accuracy,
    tell_none_complete,
    tell_reason,
    tell_state,
)
from search.study.storage import connect, lost_storage_told
from search.study.study import Protocol, find_study
from service.network import config_from_dict

SHOWN: Final = 6
"""The best and the next five, as in the paper's figure 2."""

MIN_TRIALS: Final = 20
"""Complete trials from which importances say something: PED-ANOVA looks at the best tenth."""


@lost_storage_told()
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


def tell_importances(study: Study, complete: int) -> Picture | Table:
    """The importances' picture, or why there is none."""
    title = "Importance of the choices"
    if complete < MIN_TRIALS:
        words = f"Told from {MIN_TRIALS} complete trials on; this study has {complete}."
        return Table(title, (), (), words)
    caption = "For accuracy, by PED-ANOVA (Watanabe et al., 2023), as shares; small ones are noise."
    return Picture("importances", title, caption, draw_importances(study))
