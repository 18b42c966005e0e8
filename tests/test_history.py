from pathlib import Path

from search.history import average_histories, read_history, write_history


def test_figures_come_back_from_a_file(tmp_path: Path) -> None:
    rows = [{"epoch": 1.0, "loss": 2.5}, {"epoch": 2.0, "loss": 1.5}]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == {"epoch": [1, 2], "loss": [2.5, 1.5]}


def test_each_epoch_is_averaged_over_the_trainings() -> None:
    one, other = (
        {"epoch": [1.0, 2.0], "loss": [3.0, 2.0]},
        {"epoch": [1.0, 2.0], "loss": [1.0, 1.0]},
    )
    assert average_histories([one, other]) == [
        {"epoch": 1.0, "loss": 2.0},
        {"epoch": 2.0, "loss": 1.5},
    ]
