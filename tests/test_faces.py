"""Faces in photos. The photo is NASA's portrait of Eileen Collins, in the public domain."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette

from examples.crop import crop
from service.errors import RequestError
from service.labels import LABELS
from service.reading import decoding, faces
from service.reading.decoding import see_photo
from service.reading.faces import Box, cut_face, cut_views, find_faces
from service.reading.images import Limits
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.live import ROOT
from tests.serving import with_client

LIMITS = Limits(pixels=10**7, whole_pixels=10**7)
PHOTO = Image.open(ROOT / "examples" / "photo.jpg").convert("RGB")
FACE = (224, 112)
"""Between her eyes."""
SETTINGS = Settings()


def holds(box: Box, place: tuple[int, int]) -> bool:
    across, down = place[0] - box.left, place[1] - box.top
    return 0 < across < box.side and 0 < down < box.side


def make_group() -> Image.Image:
    """The portrait twice: as it is, and beside it at two thirds of the size."""
    group = Image.new("RGB", (900, 512), "grey")
    group.paste(PHOTO)
    group.paste(PHOTO.resize((341, 341)), (540, 100))
    return group


def test_a_face_is_found_where_it_is() -> None:
    (box,) = find_faces(PHOTO)
    assert holds(box, FACE)
    assert 80 < box.side < 150


def test_several_faces_come_with_the_largest_first() -> None:
    large, small = find_faces(make_group())
    assert holds(large, FACE)
    assert holds(small, (540 + FACE[0] * 2 // 3, 100 + FACE[1] * 2 // 3))
    assert large.side > small.side


def test_a_small_picture_is_a_face() -> None:
    assert find_faces(Image.new("RGB", (64, 48))) == [Box(8, 0, 48)]


def test_a_picture_without_a_face_says_so() -> None:
    with pytest.raises(RequestError) as caught:
        find_faces(Image.new("RGB", (300, 200), "grey"))
    assert (caught.value.status, caught.value.code) == (422, "no_face")


def test_a_picture_on_which_the_detector_fails_has_no_face(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing:
        def detect_faces(self, _: object) -> None:
            np.zeros((51, 0, 3))[:] = np.zeros((51, 630, 3))

    monkeypatch.setattr(faces, "_detector", Failing)
    with pytest.raises(RequestError, match="No face was found"):
        faces.find_faces(Image.new("RGB", (200, 200)))


def test_a_box_over_the_edge_repeats_the_outermost_pixels() -> None:
    levels = np.repeat(np.arange(48, dtype=np.uint8)[:, None], 48, 1)
    face = cut_face(levels, Box(-5, -24, 48))
    assert (face[:24] == 0).all()
    assert (face[24:, 0] == np.arange(24)).all()


def test_the_second_view_is_closer_and_mirrored() -> None:
    levels = np.repeat(np.arange(100, dtype=np.uint8)[None], 100, 0)
    plain, closer = cut_views(levels, Box(25, 25, 50))
    assert (plain == cut_face(levels, Box(25, 25, 50))).all()
    assert plain[24, 0] < plain[24, -1]
    assert closer[24, 0] > closer[24, -1]
    assert int(np.ptp(closer)) == pytest.approx(0.88 * int(np.ptp(plain)), abs=1)


def test_the_answer_is_the_mean_over_both_views() -> None:
    def tell_by_side(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Happy or sad as more light is left or right, which differs between mirror images."""
        left = faces[:, :, :24].mean((1, 2)) > faces[:, :, 24:].mean((1, 2))
        rows = np.zeros((len(faces), 7), np.float32)
        rows[np.arange(len(faces)), np.where(left, LABELS.index("happy"), LABELS.index("sad"))] = 1
        return rows

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        photo = {"image": encode(PHOTO)}
        (face,) = (await client.post("/predict?faces=auto", files=photo)).json()["faces"]
        assert (face["scores"]["happy"], face["scores"]["sad"]) == (0.5, 0.5)
        # A cropped face is looked at once, as it is with faces=crop.
        small = {"image": encode(PHOTO.resize((64, 64)))}
        (face,) = (await client.post("/predict?faces=auto", files=small)).json()["faces"]
        alone = (await client.post("/predict", files=small)).json()
        assert face["scores"] == alone["scores"]
        assert alone["confidence"] == 1

    with_client(SETTINGS, work, tell_by_side)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_boxes_are_in_the_pixels_of_the_file(kind: str) -> None:
    large = PHOTO.resize((2560, 2560))
    seen = see_photo(encode(large, kind), LIMITS, float("inf"))
    assert seen.boxes
    assert holds(seen.boxes[0], (5 * FACE[0], 5 * FACE[1]))
    assert 400 < seen.boxes[0].side < 750
    assert seen.pixels == 2560**2


def test_a_turned_photo_is_looked_at_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    content = encode(PHOTO.transpose(Image.Transpose.ROTATE_270), "JPEG", exif=exif)
    (box,) = see_photo(content, LIMITS, float("inf")).boxes or ()
    assert holds(box, FACE)


def test_the_largest_faces_are_answered_and_the_others_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = [Box(0, 0, side) for side in range(60, 20, -1)]
    monkeypatch.setattr(decoding, "find_faces", lambda _: boxes)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        photo = {"image": encode(PHOTO)}
        answer = (await client.post("/predict?faces=auto", files=photo)).json()
        assert len(answer["faces"]) == 32 and answer["left_out"] == 8
        assert answer["faces"][-1]["box"]["side"] < answer["faces"][0]["box"]["side"]

    with_client(SETTINGS, work)


def test_the_answer_has_boxes() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        content = encode(make_group())
        answer = await client.post("/predict?faces=auto", files={"image": content})
        assert answer.status_code == 200
        assert answer.json()["left_out"] == 0
        (first, second) = answer.json()["faces"]
        assert set(first["box"]) == {"left", "top", "side"}
        assert first["scores"].keys() == second["scores"].keys()
        parts = [
            ("images", content),
            ("images", encode(Image.new("RGB", (200, 200)))),
            ("images", b"junk"),
            ("images", encode(make_faces(1).images[0])),
        ]
        results = (await client.post("/predict_batch?faces=auto", files=parts)).json()["results"]
        assert [len(item.get("faces", ())) for item in results] == [2, 0, 0, 1]
        assert [item["error"]["code"] for item in results[1:3]] == ["no_face", "unsupported_format"]

    with_client(SETTINGS, work)


def test_an_unknown_choice_is_refused() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.post("/predict?faces=some", files={"image": encode(PHOTO)})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "faces must be one of: crop, auto."

    with_client(SETTINGS, work)


def test_without_the_extra_crops_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        photo = {"image": encode(PHOTO)}
        answer = await client.post("/predict?faces=auto", files=photo)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "no_detector")
        assert (await client.post("/predict", files=photo)).status_code == 200
        assert (await client.get("/info")).json()["faces"] == ["crop"]

    monkeypatch.setattr(faces, "AVAILABLE", False)
    with_client(SETTINGS, work)


def test_photos_are_cropped_for_training(tmp_path: Path) -> None:
    photos, faces = tmp_path / "photos", tmp_path / "faces"
    photos.mkdir()
    (photos / "a.png").write_bytes(encode(PHOTO))
    (photos / "notes.txt").write_text("no image")
    assert crop(photos, faces) == 1
    (file,) = faces.glob("photos-a.png-????????-0.png")
    with Image.open(file) as face:
        assert (face.size, face.mode) == ((48, 48), "L")
