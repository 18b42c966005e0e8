"""Names in the client's table: any file's name, in a file that each program can read."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from facial_emotion_client.__main__ import main
from facial_emotion_client.names import escape, unescape
from facial_emotion_client.results import Faces, Failure, Prediction
from facial_emotion_client.table import Table
from hypothesis import given
from hypothesis import strategies as st

FACE = Prediction("happy", 0.5, True, {"happy": 0.5}, "m:1")
RAW = os.fsdecode(b"caf\xe9.png")
LOOKALIKE = "caf\\xe9.png"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("more/café, =1+1.png", "more/café, =1+1.png"),
        (RAW, "caf\\xe9.png"),
        (LOOKALIKE, "caf\\\\xe9.png"),
        ("half \ud800.png", "half \\ud800.png"),
    ],
)
def test_a_name_is_escaped_and_comes_back(name: str, text: str) -> None:
    assert escape(name) == text
    assert unescape(text) == name


@given(st.binary())
def test_each_name_comes_back(content: bytes) -> None:
    text = escape(os.fsdecode(content))
    assert os.fsencode(unescape(text.encode().decode())) == content


@given(st.text("\\xu089adf\ud800\udc80\udcff\udd00é", max_size=12))
def test_so_does_each_text(text: str) -> None:
    assert unescape(escape(text)) == text


def read_names(path: Path) -> list[str]:
    """As a program reads them that knows nothing of the client."""
    text = path.read_bytes().decode()
    if path.suffix == ".csv":
        return [row["image"] for row in csv.DictReader(text.splitlines())]
    lines = json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines())
    return [row["image"] for row in lines]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_a_table_is_utf8_and_goes_on_by_the_files_names(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"labels.{kind}"
    with Table(path) as table:
        for name in (RAW, LOOKALIKE, "z.png"):
            table.add(name, Faces([FACE]), "1-a")
    assert read_names(path) == ["caf\\xe9.png", "caf\\\\xe9.png", "z.png"]
    again = Table(path)
    assert again.done == {RAW, LOOKALIKE}
    assert again.fingerprints.keys() == {RAW, LOOKALIKE, "z.png"}


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_an_older_table_with_bare_bytes_goes_on(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"labels.{kind}"
    with Table(path) as table:
        for name in (RAW, "z.png"):
            table.add(name, Faces([FACE]))
    escaped = b"caf\\xe9" if kind == "csv" else b"caf\\\\xe9"
    assert escaped in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(escaped, b"caf\xe9"))
    with Table(path) as table:
        assert table.done == {RAW}
    assert read_names(path) == ["caf\\xe9.png"]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_a_stray_half_of_a_character_in_a_message_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"labels.{kind}"
    with Table(path) as table:
        table.add("a.png", Failure("odd", "half \ud800"))
    assert read_names(path) == ["a.png"]


def test_a_folder_with_such_names_is_labelled_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "pictures", tmp_path / os.fsdecode(b"t\xe9.csv")
    root.mkdir()
    for name in (RAW, "z.png", os.fsdecode(b"other.\xe9")):
        (root / name).write_bytes(b"image")
    asked: list[str] = []

    async def model(_: Any) -> str:
        return "m:1"

    async def predict_many(_: Any, images: Any, **__: Any) -> Any:
        for path in images:
            asked.append(path.name)
            yield Faces([FACE])

    monkeypatch.setattr("facial_emotion_client.client.AsyncEmotionClient.model", model)
    monkeypatch.setattr(
        "facial_emotion_client.client.AsyncEmotionClient.predict_many", predict_many
    )
    for _ in range(2):
        assert main([str(root), "--out", str(out), "--quiet"]) == 0
    assert asked == [RAW, "z.png", "z.png"]
    assert "t\\udce9.csv: 1 labelled, 0 failed; before: 1" in capfd.readouterr().out
    assert read_names(out) == ["caf\\xe9.png", "z.png"]
