import csv
import re
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from optuna import Trial, create_study
from optuna.exceptions import StorageInternalError

from search.__main__ import main
from search.errors import StudyError
from search.report.layers_figure import draw_layers, list_layers
from search.report.study_figures import draw_history, with_used_choices
from search.report.study_report import MIN_TRIALS, write_study_report, write_trials
from search.report.study_tables import tabulate_protocol
from search.retraining.lineage import find_trial
from search.study.curve import read_curve
from search.study.outcome import find_front, front_trials
from search.study.phase import Search, digest_data
from search.study.run import run_search
from search.study.space import SPACES, Candidate, used_choices
from search.study.storage import connect
from search.study.study import Protocol, find_study, open_study
from search.study.trial import check_cost
from search.study.worker import work
from search.training.recipe import Recipe
from service.artifact import load_artifact
from service.network import PlainConfig, ResidualConfig, build_network, count_parameters

PROTOCOL = Protocol(data_digest="digest")


def stand_in(trial: Trial, protocol: Protocol = PROTOCOL) -> float:
    """A trial without its training."""
    check_cost(trial, SPACES["paper"](trial, 20), protocol)
    value: float = trial.params["first_kernels"] / 1000
    for epoch in (1, 2):
        trial.report(value * epoch / 2, epoch)
    return value


def fill(storage: str, count: int) -> None:
    connection = connect(storage)
    work(open_study(connection, "s", PROTOCOL), connection, range(count), stand_in)


def test_the_page_holds_every_picture_and_the_csv_every_trial(tmp_path: Path) -> None:
    storage = str(tmp_path / "s.db")
    fill(storage, MIN_TRIALS)
    page = write_study_report(storage, "s", tmp_path / "out")
    names = {"epochs", "history", "cost", "importances", "slices", "network"}
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == names
    assert page.read_text().count("data:image/png") == len(names)
    text = (tmp_path / "out" / "trials.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == MIN_TRIALS
    study, _ = find_study(connect(storage), "s")
    assert [float(row["accuracy"]) for row in rows] == [t.value for t in study.trials]


def test_a_few_trials_have_no_importances(tmp_path: Path) -> None:
    fill(str(tmp_path / "s.db"), 2)
    page = write_study_report(str(tmp_path / "s.db"), "s", tmp_path / "out")
    assert not (tmp_path / "out" / "importances.png").exists()
    assert "Told from 20 complete trials on; this study has 2." in page.read_text()


def test_importances_are_of_choices_that_a_network_has(tmp_path: Path) -> None:
    storage = str(tmp_path / "s.db")
    fill(storage, 12)
    study, _ = find_study(connect(storage), "s")
    shown = with_used_choices(study).trials
    assert [trial.params for trial in shown] == [used_choices(trial) for trial in study.trials]
    assert shown[0].distributions.keys() == shown[0].params.keys()
    assert any(trial.params != one.params for trial, one in zip(shown, study.trials, strict=True))


def test_the_history_is_in_the_order_in_which_trials_were_begun(tmp_path: Path) -> None:
    storage = str(tmp_path / "s.db")
    fill(storage, 3)
    study, _ = find_study(connect(storage), "s")
    first, *others = study.trials
    # As of a slot that was begun later than those after it.
    first.datetime_start = datetime.max
    late = create_study()
    late.add_trials([first, *others])
    (dots,) = draw_history(late).axes[0].collections
    drawn = [value for _, value in np.asarray(dots.get_offsets()).tolist()]
    assert drawn == pytest.approx([trial.value for trial in (*others, first)])


def test_a_storage_that_is_lost_ends_a_report_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise StorageInternalError("gone")

    fill(str(tmp_path / "s.db"), 1)
    for name in ("search.report.study_report", "search.retraining.lineage"):
        monkeypatch.setattr(f"{name}.find_study", lose)
    with pytest.raises(StudyError, match="the storage was lost: gone"):
        write_study_report(str(tmp_path / "s.db"), "s", tmp_path / "out")
    with pytest.raises(StudyError, match="the storage was lost: gone"):
        find_trial(str(tmp_path / "s.db"), "s")


def test_the_history_leaves_out_what_was_too_large(tmp_path: Path) -> None:
    connection = connect(str(tmp_path / "s.db"))
    protocol = replace(PROTOCOL, max_flops=10**9)
    study = open_study(connection, "s", protocol)
    work(study, connection, range(8), partial(stand_in, protocol=protocol))
    states = [trial.state.name for trial in study.trials]
    assert states.count("PRUNED") > 0
    (dots,) = draw_history(study).axes[0].collections
    assert len(np.asarray(dots.get_offsets())) == states.count("COMPLETE")


def test_an_interrupted_trial_is_named_and_not_drawn(tmp_path: Path) -> None:
    def stop(trial: Trial) -> float:
        stand_in(trial)
        raise KeyboardInterrupt

    connection = connect(str(tmp_path / "s.db"))
    study = open_study(connection, "s", PROTOCOL)
    with pytest.raises(KeyboardInterrupt):
        work(study, connection, range(2), stop)
    work(study, connection, range(2), stand_in)
    (dots,) = draw_history(study).axes[0].collections
    assert len(np.asarray(dots.get_offsets())) == 2
    write_trials(tmp_path / "trials.csv", study)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    told = sorted((row["slot"], row["state"], row["reason"]) for row in rows)
    complete = [("0", "COMPLETE", ""), ("1", "COMPLETE", "")]
    assert told == sorted([*complete, ("0", "INTERRUPTED", "stopped")])
    table = {row[0]: row[1] for row in tabulate_protocol(study, PROTOCOL).rows}
    assert table["interrupted trials, stopped"] == "1" and "fail trials" not in table


def test_the_table_groups_what_was_too_large(tmp_path: Path) -> None:
    connection = connect(str(tmp_path / "s.db"))
    protocol = replace(PROTOCOL, max_flops=10**6)
    study = open_study(connection, "s", protocol)
    work(study, connection, range(8), partial(stand_in, protocol=protocol))
    table = {row[0]: row[1] for row in tabulate_protocol(study, protocol).rows}
    assert table["not trained, over 1 MFLOP"] == "8"
    assert not [name for name in table if name.startswith("pruned")]


def test_a_study_without_a_trial_is_refused(tmp_path: Path) -> None:
    fill(str(tmp_path / "s.db"), 0)
    with pytest.raises(StudyError, match="no complete trial"):
        write_study_report(str(tmp_path / "s.db"), "s", tmp_path / "out")


def test_a_study_whose_trials_are_all_too_large_is_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--storage", str(tmp_path / "s.db"), "--study", "s"]
    command = ["run", *common, "--data", str(data), "--device", "cpu", "--trials", "3"]
    assert main([*command, "--max-flops", "100000"]) == 1
    words = capsys.readouterr()
    assert "3/3 done  3 too large" in words.out
    told = (
        r"error: study s has no complete trial: over 0\.1 MFLOP \(3\); the least seen: [\d,]+ MFLOP"
    )
    assert re.match(told, words.err)
    assert main(["report", *common, "--out", str(tmp_path / "out")]) == 1
    assert re.match(told, capsys.readouterr().err)


def test_the_front_is_what_nothing_beats() -> None:
    costs, values = np.array([1.0, 2, 2, 3, 4]), np.array([0.2, 0.5, 0.4, 0.5, 0.6])
    assert find_front(costs, values).tolist() == [0, 1, 4]


def test_layers_are_those_of_the_network() -> None:
    config = PlainConfig(channels=(256, 512, 384, 192, 384))
    layers = list_layers(config)
    assert sum(layer.parameters for layer in layers) == 5_173_959
    assert layers[0].shape == (256, 48, 48)
    assert layers[-1].shape == (7,)
    assert count_parameters(build_network(config)) == 5_173_959


def test_layers_without_effect_are_not_drawn_and_titles_fit() -> None:
    figure = draw_layers(ResidualConfig(stem_channels=8, channels=(8,), depths=(1,)))
    figure.draw_without_rendering()
    (axis,) = figure.axes
    titles = [text for text in axis.texts if text.get_position()[0] == 0.5]
    words = [title.get_text() for title in titles]
    assert "Average pool" in words and not {"Dropout 0", "Soften"} & set(words)
    for title, box in zip(titles, axis.patches, strict=True):
        assert title.get_window_extent().width < box.get_window_extent().width


def test_search_report_and_retrain_of_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def suggest_tiny(trial: Trial, epochs: int) -> Candidate:
        width = trial.suggest_int("width", 8, 40)
        network = PlainConfig(channels=(width, width))
        return Candidate(network, Recipe(epochs=epochs, batch_size=16))

    monkeypatch.setitem(SPACES, "paper", suggest_tiny)
    storage = str(tmp_path / "s.db")
    protocol = Protocol(epochs=1, data_digest=digest_data(data))
    run_search(
        Search(
            data=data,
            storage=storage,
            name="s",
            protocol=protocol,
            trials=2,
            device="cpu",
            confirm=2,
            confirm_seeds=2,
        )
    )
    common = ["--storage", storage, "--study", "s"]
    assert main(["report", *common, "--out", str(tmp_path / "report")]) == 0
    assert "Confirmation" in (tmp_path / "report" / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "report" / "confirmation.csv").read_text().splitlines()))
    assert sorted(row["confirms"] for row in rows) == ["0", "0", "1", "1"]
    out = tmp_path / "run"
    command = ["retrain", *common, "--data", str(data), "--device", "cpu", "--recipe", "trial"]
    assert main([*command, "--epochs", "2", "--out", str(out)]) == 0
    card = load_artifact(out / "artifact").card
    assert card["search"]["chosen_by"] == "confirmation"
    assert card["search"]["study"] == "s"
    assert card["search"]["trials"] == 2
    assert len(card["search"]["confirmation"]["accuracies"]) == 2
    best = card["search"]["trial"]
    assert f"trial {best} of study s, by confirmation\n" in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"The network of trial {best}, layer by layer" in page
    assert card["recipe"]["batch_size"] == 16
    assert card["recipe"]["epochs"] == 2
    assert main([*command, "--trial", "99", "--out", str(out)]) == 1
    assert "no complete trial 99" in capsys.readouterr().err


def test_a_search_for_accuracy_and_flops_has_a_front(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def suggest_tiny(trial: Trial, epochs: int) -> Candidate:
        width = trial.suggest_int("width", 8, 64, step=8)
        return Candidate(PlainConfig(channels=(width, 8)), Recipe(epochs=epochs, batch_size=16))

    monkeypatch.setitem(SPACES, "residual", suggest_tiny)
    command = ["run", "--preset", "front", "--data", str(data), "--storage", str(tmp_path / "s.db")]
    command += ["--epochs", "2", "--device", "cpu", "--confirm", "1", "--confirm-seeds", "1"]
    assert main([*command, "--trials", "2"]) == 0
    assert main([*command, "--trials", "4"]) == 0
    words = capsys.readouterr().out
    assert "4/4 done" in words and "front of" in words and "MFLOP" in words
    study, protocol = find_study(connect(str(tmp_path / "s.db")), "front")
    assert protocol.objectives == "accuracy,flops"
    assert len(study.trials) == 4
    for trial in study.trials:
        assert trial.values == [read_curve(trial)[2], trial.user_attrs["flops"]]
    front = {trial.number for trial in front_trials(study)}
    assert front <= {trial.number for trial in study.best_trials}
    assert max(study.trials, key=lambda trial: trial.values[0]).values[0] == max(
        study.trials[number].values[0] for number in front
    )
    common = ["--storage", str(tmp_path / "s.db"), "--study", "front"]
    assert main(["report", *common, "--out", str(tmp_path / "report")]) == 0
    assert "The Pareto front" in (tmp_path / "report" / "report.html").read_text()
    assert main([*command, "--trials", "4", "--pruner", "halving"]) == 1
    assert "pruner halving compares trials by one objective" in capsys.readouterr().err
    assert main([*command, "--trials", "4", "--objectives", "accuracy"]) == 1
    assert "objectives is 'accuracy,flops' there, 'accuracy' here" in capsys.readouterr().err
