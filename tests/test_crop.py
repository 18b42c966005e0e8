"""The example that makes a data set's images of photos."""

from pathlib import Path

import pytest

from examples import crop
from service.decoding import Seen
from service.images import Limits
from tests.conftest import make_faces


def test_photos_of_one_name_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see(content: bytes, limits: Limits, deadline: float) -> Seen:
        return Seen(make_faces(2, seed=len(content)).images, 1)

    monkeypatch.setattr(crop, "see_photo", see)
    for folder in ("first", "second"):
        (tmp_path / folder / "more").mkdir(parents=True)
        for name in ("a.jpg", "a.png", "more/a.jpg"):
            (tmp_path / folder / name).write_bytes(name.encode())
        for _ in range(2):
            assert crop.crop(tmp_path / folder, tmp_path / "faces") == 6
    assert len(list((tmp_path / "faces").iterdir())) == 12
    assert (tmp_path / "faces" / "second-more-a.jpg-1.png").exists()
