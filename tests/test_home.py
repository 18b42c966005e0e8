"""The page in a real browser, on a real server."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from starlette.testclient import TestClient

from service.routes import make_app
from tests.conftest import encode, make_faces
from tests.live import ROOT, running

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FACE = ROOT / "examples" / "face.png"
PHOTO = ROOT / "examples" / "photo.jpg"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[str]:
    with running(environment | {"EMOTION_WORKERS": "1"}) as (address, process):
        yield address
    assert process.returncode in (0, -signal.SIGTERM)


def write_video(path: Path) -> None:
    """A still face as raw video, 320x240, in the form that Chromium's fake camera plays."""
    luma = np.full((240, 320), 128, np.uint8)
    luma[:, 40:280] = np.asarray(Image.open(PHOTO).convert("L").resize((240, 240)))
    chroma = np.full(2 * 160 * 120, 128, np.uint8).tobytes()
    frame = b"FRAME\n" + luma.tobytes() + chroma
    path.write_bytes(b"YUV4MPEG2 W320 H240 F30:1 Ip A1:1 C420jpeg\n" + 5 * frame)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    video = tmp_path_factory.mktemp("camera") / "face.y4m"
    write_video(video)
    arguments = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(permissions=["camera"])
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: str) -> Iterator[Page]:
    """The page; afterwards nothing foreign was asked and nothing complained."""
    complaints: list[str] = []

    def note_foreign(address: str) -> None:
        if not address.startswith((server, "blob:", "data:")):
            complaints.append(address)

    page = context.new_page()
    page.on("request", lambda request: note_foreign(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server)
    yield page
    assert complaints == []


def test_the_page_loads_only_from_here() -> None:
    client = TestClient(make_app())
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/page/../app.py").status_code == 404


@pytest.mark.slow
@in_browser
def test_several_files_are_answered_one_by_one(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(FACE.read_bytes()[:200])
    page.set_input_files("#files", [FACE, broken, FACE])
    expect(page.locator("#status")).to_have_text("3 of 3 done.")
    expect(page.locator("figure .bars dt")).to_have_count(14)
    expect(page.locator("figure .fault")).to_have_count(1)
    expect(page.locator("figure", has=page.locator(".fault"))).to_contain_text("broken.png")
    names = page.locator("figure .name").all_inner_texts()
    assert names == ["face.png", "broken.png", "face.png"]


@pytest.mark.slow
@in_browser
def test_a_picture_can_be_pasted(page: Page) -> None:
    page.evaluate(
        """(bytes) => {
            const file = new File([new Uint8Array(bytes)], "image.png", { type: "image/png" });
            const data = new DataTransfer();
            data.items.add(file);
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        list(FACE.read_bytes()),
    )
    expect(page.locator("figure .verdict")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_the_camera_is_answered_live(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#live .verdict")).to_be_visible()
    expect(page.locator("#pace")).to_contain_text("frames a second")
    expect(page.locator("#stage .box")).to_have_count(1)
    page.click("#camera")
    expect(page.locator("#live")).to_be_hidden()


@pytest.mark.slow
@in_browser
def test_the_keyboard_reaches_everything(page: Page) -> None:
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"files", "camera", "SUMMARY", "A"} <= reached


@pytest.mark.slow
@in_browser
def test_faces_of_a_photo_are_boxed_and_explained(page: Page, tmp_path: Path) -> None:
    photo = Image.open(PHOTO)
    group = Image.new("RGB", (1024, 512))
    group.paste(photo)
    group.paste(photo.resize((400, 400)), (560, 60))
    group.save(tmp_path / "group.png")
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "wall.png")
    page.set_input_files("#files", [tmp_path / "group.png", tmp_path / "wall.png"])
    expect(page.locator("figure .verdict")).to_have_count(2)
    expect(page.locator("figure .box")).to_have_text(["1", "2"])
    expect(page.locator("figure.many .thumb")).to_have_count(2)
    expect(page.locator("figure .fault")).to_contain_text("No face was found")
    page.locator("figure button").first.click()
    expect(page.locator("figure img.heat")).to_have_count(1)
    page.wait_for_function("document.querySelector('img.heat').naturalWidth === 336")
    assert page.evaluate("document.activeElement.className") == "heat"


@pytest.mark.slow
@in_browser
def test_cropped_faces_are_read_as_they_are(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "crop.png")
    page.check("#cropped")
    page.set_input_files("#files", tmp_path / "crop.png")
    expect(page.locator("figure .verdict")).to_have_count(1)
    expect(page.locator("figure .box")).to_have_count(0)


@pytest.mark.slow
@in_browser
def test_a_picture_without_a_face_can_be_read_as_one(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "grey").save(tmp_path / "crop.png")
    page.set_input_files("#files", tmp_path / "crop.png")
    page.get_by_role("button", name="read it as one face").click()
    expect(page.locator("figure .verdict")).to_have_count(1)
    expect(page.locator("#status")).to_contain_text("crop.png: ")
    page.get_by_role("button", name="show what spoke for it").click()
    expect(page.locator("figure img.heat")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_the_model_card_is_one_click_away(page: Page) -> None:
    page.click("#model summary")
    expect(page.locator("#card")).to_contain_text("3589 faces")
    blurred = page.get_by_text("blur, sigma 1 pixel")
    expect(blurred).to_have_count(1)
    expect(blurred).to_be_hidden()
    page.click("#card summary")
    expect(blurred).to_be_visible()


@pytest.mark.slow
@in_browser
def test_a_server_that_fails_is_told_in_words(context: BrowserContext, server: str) -> None:
    page = context.new_page()
    page.goto(server)
    page.route("**/predict_batch*", lambda route: route.abort())
    page.set_input_files("#files", FACE)
    expect(page.locator("#status")).to_have_text("0 of 1 done. The service cannot be reached.")
    expect(page.locator("figure .fault")).to_have_text("The service cannot be reached.")
    page.unroute("**/predict_batch*")
    page.get_by_role("button", name="ask again").click()
    expect(page.locator("figure .verdict")).to_have_count(1)
    expect(page.locator("#status")).to_contain_text("face.png: ")


@pytest.mark.slow
@in_browser
def test_a_busy_service_is_asked_again(context: BrowserContext, server: str) -> None:
    refused = iter((503, 429))

    def refuse_twice(route: Route) -> None:
        if status := next(refused, None):
            route.fulfill(status=status, headers={"Retry-After": "0.3"}, json={})
        else:
            route.continue_()

    page = context.new_page()
    page.goto(server)
    page.route("**/predict_batch*", refuse_twice)
    page.set_input_files("#files", FACE)
    expect(page.locator("#status")).to_have_text("The service is busy; asking again in 0.3 s …")
    expect(page.locator("#status")).to_have_text("1 of 1 done.")
    expect(page.locator("figure .verdict")).to_have_count(1)


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize(
    ("status", "said"), [(401, "enter it above"), (429, "ask again in 2 s"), (502, "answered 502")]
)
def test_a_refusal_is_told_in_words(
    context: BrowserContext, server: str, status: int, said: str
) -> None:
    body = {} if status == 502 else {"error": {"code": "c", "message": "Stop; ask again in 2 s."}}
    page = context.new_page()
    page.goto(server)
    headers = {"Retry-After": "0.1"}
    page.route(
        "**/predict_batch*",
        lambda route: route.fulfill(status=status, headers=headers, json=body),
    )
    page.set_input_files("#files", FACE)
    expect(page.locator("#status")).to_contain_text(said)
    expect(page.locator("figure .fault")).to_contain_text(said)


@pytest.mark.slow
@in_browser
def test_pictures_that_are_too_much_together_are_sent_apart(
    context: BrowserContext, server: str, tmp_path: Path
) -> None:
    def take_one(route: Route) -> None:
        if (route.request.post_data_buffer or b"").count(b"filename=") < 2:
            route.continue_()
        else:
            error = {"code": "too_many_pixels", "message": "Too many pixels."}
            route.fulfill(status=413, json={"error": error})

    large = tmp_path / "large.png"
    large.write_bytes(FACE.read_bytes() + bytes(9 * 2**20))
    page = context.new_page()
    page.goto(server)
    sizes: list[int] = []
    page.on("request", lambda request: sizes.append(len(request.post_data_buffer or b"")))
    page.route("**/predict_batch*", take_one)
    page.set_input_files("#files", [FACE, FACE, FACE, large, large])
    expect(page.locator("#status")).to_have_text("5 of 5 done.")
    expect(page.locator("figure .verdict")).to_have_count(5)
    assert max(sizes) < 10 * 2**20


@pytest.mark.slow
@in_browser
def test_it_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    face = tmp_path / f"{'long' * 20}.png"
    face.write_bytes(encode(make_faces(1).images[0]))
    page.set_input_files("#files", face)
    expect(page.locator("figure .verdict")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
