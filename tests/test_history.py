from pathlib import Path

import pytest

from search.errors import DataError
from search.training.history import read_history, write_history


def test_figures_come_back_from_a_file(tmp_path: Path) -> None:
    rows = [{"epoch": 1.0, "loss": 2.5}, {"epoch": 2.0, "loss": 1.5}]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == {"epoch": [1, 2], "loss": [2.5, 1.5]}


def test_a_figure_that_older_epochs_lack_is_left_out(tmp_path: Path) -> None:
    rows = [{"epoch": 1.0, "loss": 2.5}, {"epoch": 2.0, "loss": 1.5, "unseen_accuracy": 0.5}]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == {"epoch": [1, 2], "loss": [2.5, 1.5]}


@pytest.mark.parametrize("text", ["epoch,loss\n1", "epoch,loss\n1,high\n", 'epoch\n"1'])
def test_a_torn_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(DataError, match=r"history\.csv: not a table of figures"):
        read_history(tmp_path / "history.csv")
