"""The example that makes a data set's images of photos."""

from pathlib import Path

import pytest

from examples import crop
from service.errors import RequestError
from service.reading.decoding import Seen
from service.reading.images import Limits
from tests.conftest import make_faces


@pytest.fixture(autouse=True)
def two_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the detector: two faces in each photo."""

    def see(content: bytes, limits: Limits, deadline: float) -> Seen:
        return Seen(make_faces(2, seed=len(content)).images[:, None], 1)

    monkeypatch.setattr(crop, "see_photo", see)


def test_photos_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder / "more").mkdir(parents=True)
        for name in ("a.jpg", "a.png", "more/a.jpg"):
            (tmp_path / folder / name).write_bytes(name.encode())
        for _ in range(2):
            assert crop.crop(tmp_path / folder, tmp_path / "faces") == 6
    assert len(list((tmp_path / "faces").iterdir())) == 12
    assert len(list((tmp_path / "faces").glob("second-more-a.jpg-????????-1.png"))) == 1


def test_a_hyphen_in_a_name_is_no_folder(tmp_path: Path) -> None:
    for name in ("a-b/c.jpg", "a/b-c.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"the same photo")
    assert crop.crop(tmp_path / "photos", tmp_path / "faces") == 4
    assert len(list((tmp_path / "faces").iterdir())) == 4


def test_what_has_no_face_is_told_and_without_a_detector_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [
        RequestError(422, "no_face", "No face was found. With faces=crop it is read as one face."),
        RequestError(501, "no_detector", "This service has no face detector; send others."),
    ]

    def refuse(*_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(crop, "see_photo", refuse)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "photos" / name).touch()
    with pytest.raises(SystemExit, match="no face detector; run: pip install"):
        crop.crop(tmp_path / "photos", tmp_path / "faces")
    assert capsys.readouterr().err == f"{tmp_path / 'photos' / 'a'}: No face was found\n"


def test_folders_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for year in ("2024", "2025"):
        (tmp_path / year / "happy").mkdir(parents=True)
        (tmp_path / year / "happy" / "a.jpg").write_text(year)
        crop.crop(tmp_path / year / "happy", tmp_path / "faces")
    assert len(list((tmp_path / "faces").iterdir())) == 4
