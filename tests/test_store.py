"""A model's files in the store: what is torn is found, what is missing is made."""

from pathlib import Path

import pytest

from service.artifact import CARD_FILE, WEIGHTS_FILE, load_artifact
from service.inference.golden import GOLDEN_FILE, write_golden
from service.inference.store import add_derived, check_files
from tests.serving import even


@pytest.fixture
def folder(artifact: Path) -> Path:
    """A model's folder with all of its files."""
    add_derived(artifact, load_artifact(artifact))
    return artifact


def test_what_is_whole_stays_as_it_is(folder: Path) -> None:
    before = {file: (file.stat().st_ino, file.read_bytes()) for file in folder.iterdir()}
    assert len(before) == 4
    check_files(folder)
    add_derived(folder, load_artifact(folder))
    assert {file: (file.stat().st_ino, file.read_bytes()) for file in folder.iterdir()} == before


@pytest.mark.parametrize("pattern", [CARD_FILE, WEIGHTS_FILE, GOLDEN_FILE, "*.onnx"])
def test_a_torn_file_is_found(folder: Path, pattern: str) -> None:
    (file,) = folder.glob(pattern)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(Exception, match=r"\S"):
        check_files(folder)


def test_golden_answers_of_another_model_are_found(folder: Path) -> None:
    write_golden(folder, even)
    with pytest.raises(Exception, match="off by"):
        check_files(folder)


@pytest.mark.parametrize("pattern", [GOLDEN_FILE, "*.onnx"])
def test_what_is_missing_is_no_fault_and_is_made(folder: Path, pattern: str) -> None:
    (file,) = folder.glob(pattern)
    file.unlink()
    check_files(folder)
    add_derived(folder, load_artifact(folder))
    assert file.is_file()
    check_files(folder)
