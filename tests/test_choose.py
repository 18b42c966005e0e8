import json
from pathlib import Path
from typing import Any

import pytest
import torch

from search.__main__ import main
from service.artifact import load_artifact, save_artifact
from service.network import build_network
from tests.conftest import TINY

ACCURACIES = (0.70, 0.72, 0.71)


def write_run(folder: Path, seed: int, accuracy: float, **facts: Any) -> Path:
    torch.manual_seed(seed)
    known: dict[str, Any] = {
        "seed": seed,
        "recipe": {"epochs": 1},
        "start_from": None,
        "teachers": [],
        "data": {"name": "faces"},
        "metrics": {"validation": {"accuracy": accuracy, "loss": 1.0}},
    }
    save_artifact(folder, build_network(TINY), TINY, known | facts)
    (folder / "history.csv").write_text(f"epoch\n{seed}\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / str(seed) / "artifact", seed, accuracy)
        for seed, accuracy in enumerate(ACCURACIES)
    ]


def choose(out: Path, *runs: Path) -> int:
    options = [option for run in runs for option in ("--run", str(run))]
    return main(["choose", "--out", str(out), *options])


def test_the_best_seed_is_taken_with_the_figures_of_all(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(tmp_path / "best", *runs) == 0
    card = load_artifact(tmp_path / "best").card
    assert card["weights_sha256"] == load_artifact(runs[1]).card["weights_sha256"]
    assert card["seed"] == card["seeds"]["chosen"] == 1
    assert [run["accuracy"] for run in card["seeds"]["runs"]] == list(ACCURACIES)
    assert card["seeds"]["mean"] == pytest.approx(0.71)
    assert card["seeds"]["standard_error"] == pytest.approx(0.01 / 3**0.5)
    assert (tmp_path / "best" / "history.csv").read_text() == "epoch\n1\n"
    assert "71.00 ± 0.58 % over 3 seeds; seed 1 is taken" in capsys.readouterr().out


def test_one_run_alone_or_twice_is_no_choice(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = f"{runs[0]}: another run has its seed, 0"
    for given, words in (
        (runs[:1], "--run: at least two"),
        ([runs[0], runs[0]], twice),
        ([*runs, runs[0]], twice),
    ):
        assert choose(tmp_path / "best", *given) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("name", ["recipe", "start_from", "teachers", "data"])
def test_runs_of_different_trainings_are_refused(
    name: str, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", 7, 0.9, **{name: "another"})
    assert choose(tmp_path / "best", *runs, other) == 1
    assert f"differs from {runs[0]} in {name}" in capsys.readouterr().err


def test_a_run_is_not_overwritten(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((runs[0] / "card.json").read_text())
    for out in (runs[0], runs[0].parent):
        assert choose(out, *runs) == 1
        assert "the folder of a run" in capsys.readouterr().err
    assert json.loads((runs[0] / "card.json").read_text()) == before
    assert [file.name for file in runs[0].parent.iterdir()] == ["artifact"]


def test_a_run_that_was_not_measured_is_named(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", 7, 0.9, metrics={})
    assert choose(tmp_path / "best", *runs, other) == 1
    assert f"{other}: its card has no figures on validation" in capsys.readouterr().err


def test_a_curve_of_another_training_goes(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "history.csv").write_text("of another")
    (runs[1] / "history.csv").unlink()
    assert choose(tmp_path / "best", *runs) == 0
    assert not (tmp_path / "best" / "history.csv").exists()
