"""What the documented commands read and write may show faces for research only: git leaves it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live import ROOT

NAMED = re.compile(r"(?:--out|--data|\bcrop\.py| -o) ([a-z][\w./-]+)")
FURTHER = ("photos", "fer2013.csv", "icml_face_data.csv", "runs/search.db", "labels.jsonl")


def list_documented() -> set[str]:
    """Files and folders that the READMEs and docs name behind an option."""
    pages = (ROOT / "README.md", ROOT / "client" / "README.md", *(ROOT / "docs").glob("*.md"))
    texts = [page.read_text() for page in pages]
    return {name for text in texts for name in NAMED.findall(text)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty one with this project's .gitignore."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    return tmp_path


def is_ignored(checkout: Path, name: str) -> bool:
    command = ["git", "-c", "core.excludesFile=", "check-ignore", "--quiet", name]
    return subprocess.run(command, cwd=checkout, check=False).returncode == 0


def test_documented_folders_are_found() -> None:
    assert {"report", "audit", "fer2013", "faces", "heat.png"} <= list_documented()


@pytest.mark.parametrize("name", sorted({*list_documented(), *FURTHER}))
def test_what_may_show_faces_is_ignored_also_as_a_link(checkout: Path, name: str) -> None:
    assert is_ignored(checkout, name)
    link = checkout / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("elsewhere")
    assert is_ignored(checkout, name)


def test_nothing_of_the_project_is_ignored(checkout: Path) -> None:
    for name in (
        "search/data/audit.py",
        "docs/report.png",
        "examples/face.png",
        "models/compact/card",
    ):
        assert not is_ignored(checkout, name)
