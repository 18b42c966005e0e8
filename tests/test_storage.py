import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import event

from search.__main__ import main
from search.errors import StudyError
from search.study import storage
from search.study.silence import vigil
from search.study.storage import connect, lost_storage_told


@pytest.mark.parametrize("storage", ["foo:bar", "sqlite:s.db", "postgresql:/h/d", ""])
def test_a_url_gone_wrong_makes_no_file(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="is neither a URL such as"):
        connect(storage)
    assert list(tmp_path.iterdir()) == []


def test_only_the_default_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connect("runs/search.db")
    connect("./foo:bar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo:bar", "runs"]
    for place in (str(tmp_path / "nope" / "s.db"), "sqlite:///nope/s.db", "nope/s.db"):
        with pytest.raises(StudyError, match=r"there is no folder .*nope"):
            connect(place)
    assert not (tmp_path / "nope").exists()


def test_what_only_reads_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--study", "s", "--out", "out"]) == 1
    assert main(["retrain", "--study", "s", "--out", "out", "--data", "data"]) == 1
    assert capsys.readouterr().err == 2 * "error: there is no database runs/search.db\n"
    assert list(tmp_path.iterdir()) == []


def test_an_absent_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    for url in ("postgresql://h/d", "postgresql+psycopg2://h/d"):
        with pytest.raises(StudyError, match=r"installed: install the extra postgres$"):
            connect(url)


@pytest.mark.parametrize(
    "url", ["postgresql+nodriver://h/d", "nosuchdatabase://h/d", "postgresql://h:port/d"]
)
def test_a_storage_out_of_reach_is_one_error(url: str) -> None:
    with pytest.raises(StudyError, match="storage"):
        connect(url)


def test_a_storage_that_fails_is_told(tmp_path: Path) -> None:
    storage = connect(str(tmp_path / "s.db"))
    (tmp_path / "s.db").unlink()
    storage.engine.dispose()
    words = r"the storage was lost: .*no such table"
    with pytest.raises(StudyError, match=words), lost_storage_told():
        optuna.get_all_study_names(storage)


def test_a_server_that_is_away_is_waited_for_but_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found, waited = connect(str(tmp_path / "s.db")), list[float]()
    event.listen(found.engine, "do_connect", storage.Patience())
    away = 2

    def fail_at_first(*address: Any, **options: Any) -> Any:
        if len(waited) < away:
            raise sqlite3.OperationalError("away")
        return sqlite3.connect(*address, **options)

    monkeypatch.setattr(found.engine.dialect, "connect", fail_at_first)
    monkeypatch.setattr(storage, "time", SimpleNamespace(sleep=waited.append))
    vigil()._woke = 0.0
    for _ in range(2):
        found.engine.dispose()
        assert found.get_all_studies() == []
    assert waited == [1.0, 2.0]
    assert vigil().awake() < 60
    assert "the storage does not answer; tries again in 2 s" in caplog.text
    away = 100
    for _ in range(2):
        found.engine.dispose()
        with pytest.raises(StorageInternalError):
            found.get_all_studies()
    assert waited == [1.0, 2.0, *storage.PAUSES]
