import csv
import json
import re
from pathlib import Path

import pytest

from search.__main__ import main
from search.config import NETWORKS, RECIPES, Recipe
from service.labels import LABELS
from tests.conftest import TINY


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "compact", TINY)
    recipe = Recipe(epochs=2, batch_size=16, mirror=True, drop_duplicates=True)
    monkeypatch.setitem(RECIPES, "modern", recipe)


@pytest.mark.usefixtures("small")
def test_retrain_then_evaluate(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, predictions = tmp_path / "run", tmp_path / "predictions.csv"
    assert main(["retrain", "--data", str(data), "--out", str(out), "--device", "cpu"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    artifact = out / "artifact"
    command = ["evaluate", "--data", str(data), "--artifact", str(artifact), "--device", "cpu"]
    assert main([*command, "--predictions", str(predictions)]) == 0
    card = json.loads((artifact / "card.json").read_text())
    figures = capsys.readouterr().out
    accuracy = card["metrics"]["validation"]["accuracy"]
    assert re.search(rf"^accuracy +{accuracy:.4f}", figures, re.MULTILINE)
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert len(rows) == 35
    assert all(row["predicted"] in LABELS for row in rows)
    assert len((artifact / "history.csv").read_text().splitlines()) == 3


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_help_of_run_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for told in (
        "--objectives NAMES accuracy, or accuracy,flops for",
        "path for SQLite (default: runs/search.db)",
        "the study's total (default: paper: 500, residual: 200, front: 200)",
        "of each trial (default: paper: 20, residual: 27, front: 9)",
        "0 for none (default: 6)",
        "(default: 3)",
    ):
        assert told in words
