from dataclasses import asdict
from pathlib import Path

import torch

from search.artifact_report import read_history, write_artifact_report
from search.config import RECIPES
from service.artifact import HISTORY_FILE, load_artifact, write_card


def test_the_page_holds_every_picture(artifact: Path, data: Path, tmp_path: Path) -> None:
    columns = "epoch,loss,accuracy,images_per_second,validation_loss,validation_accuracy"
    (artifact / HISTORY_FILE).write_text(f"{columns}\n1,2,0.1,9,2,0.2\n2,1,0.3,9,1,0.4\n")
    recipe = asdict(RECIPES["modern"])
    facts = {"recipe": recipe, "data": {"name": "FER2013"}, "parameters": 1_000_000}
    write_card(artifact, load_artifact(artifact).card | facts)
    page = write_artifact_report(artifact, data, tmp_path / "out", torch.device("cpu"))
    names = ("accuracy", "loss", "confusion", "reliability", "coverage", "augmented", "mistakes")
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == set(names)
    text = page.read_text()
    assert text.count("data:image/png") == len(names)
    assert text.count("this model (1.00 M parameters)") == 2


def test_a_history_is_read_by_column(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2.5\n2,1.5\n")
    assert read_history(tmp_path / "history.csv") == {"epoch": [1, 2], "loss": [2.5, 1.5]}


def test_own_faces_are_not_compared_with_published_figures(
    artifact: Path, data: Path, tmp_path: Path
) -> None:
    page = write_artifact_report(artifact, data, tmp_path / "out", torch.device("cpu"))
    assert "Table III" not in page.read_text()
