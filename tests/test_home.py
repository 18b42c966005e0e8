"""The page in a real browser, on a real server."""

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from starlette.testclient import TestClient

from service.labels import LABELS
from service.routes.application import make_app
from service.routes.home import FOLDER
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
    # A machine that does other work as well takes its time.
    expect.set_options(timeout=20_000)
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


@pytest.fixture
def faulty(context: BrowserContext, server: str) -> Page:
    """The page, where answers are replaced by bad ones."""
    page = context.new_page()
    page.goto(server)
    return page


def refuse(
    route: Route, status: int, code: str = "c", message: str = "M.", wait: str = "1"
) -> None:
    error = {"error": {"code": code, "message": message}}
    route.fulfill(status=status, headers={"Retry-After": wait}, json=error)


def hold(page: Page, pattern: str) -> list[Route]:
    """The requests that a page makes from now on; none is answered."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


def predict(label: str, confidence: float, **facts: Any) -> dict[str, Any]:
    """A prediction as the service gives it; the other labels share the rest."""
    rest = (1 - confidence) / 6
    scores = {name: confidence if name == label else rest for name in LABELS}
    return {"label": label, "confidence": confidence, "uncertain": False, "scores": scores, **facts}


def test_the_page_loads_only_from_here() -> None:
    client = TestClient(make_app())
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/page/../app.py").status_code == 404


def test_the_modules_are_there_and_of_one_version() -> None:
    client = TestClient(make_app())
    modules = {file.name for file in FOLDER.glob("*.js")}
    named = set()
    for module in modules:
        answer = client.get(f"/page/{module}")
        assert "javascript" in answer.headers["content-type"]
        assert answer.headers["cache-control"] == "no-cache"
        known = {"If-None-Match": answer.headers["etag"]}
        assert client.get(f"/page/{module}", headers=known).status_code == 304
        named |= set(re.findall(r'^import .*"\./(.+)";$', answer.text, re.MULTILINE))
    scripts = re.findall(r'<script.* src="page/(.+?)"', client.get("/").text)
    assert scripts == ["old.js", "page.js"]
    assert named | {*scripts} == modules


@pytest.mark.slow
@in_browser
def test_several_files_are_answered_one_by_one(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(FACE.read_bytes()[:200])
    page.set_input_files("#files", [FACE, broken, FACE])
    expect(page.locator("#status")).to_have_text("3 of 3 read: 2 answered, 1 not.")
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
    page.set_viewport_size({"width": 360, "height": 740})
    page.click("#camera")
    expect(page.locator("#live .verdict")).to_be_visible()
    expect(page.locator("#pace")).to_contain_text("frames a second")
    expect(page.locator("#stage .box")).to_have_count(1)
    for part in ("#stop-camera", "#video", "#live .verdict", "#live .bars"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_be_hidden()
    expect(page.locator("#camera")).to_be_focused()


@pytest.mark.slow
@in_browser
def test_the_camera_shows_what_is_old(faulty: Page) -> None:
    held: list[Route] = []
    boxes = ({"left": 9, "top": 40, "side": 90}, {"left": 200, "top": 40, "side": 90})
    faces = [predict("sad", 0.8, box=box) for box in boxes]
    asked = iter((False, False))

    def answer(route: Route) -> None:
        if next(asked, True):
            held.append(route)
        else:
            route.fulfill(json={"faces": faces})

    faulty.route("**/predict?*", answer)
    faulty.click("#camera")
    expect(faulty.locator("#live .verdict")).to_have_text(
        ["face 1: sad, 80 %", "face 2: sad, 80 %"]
    )
    expect(faulty.locator("#stage .number")).to_have_text(["1", "2"])
    expect(faulty.locator("#live")).to_have_class("old")
    expect(faulty.locator("#pace")).to_contain_text(re.compile(r"waiting for an answer, \d+ s"))
    refuse(held[0], 503, message="Full.", wait="7")
    expect(faulty.locator("#live-answer")).to_have_text("Full.")
    expect(faulty.locator("#pace")).to_have_text("asking again in 7 s …")
    faulty.wait_for_timeout(1500)
    assert len(held) == 1


def note_said(page: Page) -> None:
    """Note, from now on, what a screen reader is given of the camera, and when."""
    page.evaluate(
        """() => {
            window.said = [];
            const region = document.getElementById("live-said");
            const note = (words) => words && said.push([words, performance.now()]);
            const observer = new MutationObserver(() => note(region.textContent));
            observer.observe(region, { childList: true });
        }"""
    )


def read_said(page: Page) -> tuple[list[str], list[float]]:
    """What was said, and the milliseconds from one announcement to the next."""
    found: list[tuple[str, float]] = page.evaluate("said")
    times = [time for _, time in found]
    return [words for words, _ in found], [after - before for before, after in pairwise(times)]


@pytest.mark.slow
@in_browser
def test_the_cameras_answers_are_read_aloud_when_they_change(faulty: Page) -> None:
    region = faulty.locator("#live-said[role=status][aria-live=polite]")
    shares = cycle((0.8, 0.7, 0.6))
    faulty.route("**/predict?*", lambda route: route.fulfill(json=predict("sad", next(shares))))
    note_said(faulty)
    faulty.click("#camera")
    expect(region).to_have_text("sad")
    wait_for_frames(faulty, 5)
    unsure = predict("fear", 0.4, uncertain=True)
    faulty.unroute("**/predict?*")
    faulty.route("**/predict?*", lambda route: route.fulfill(json={"faces": [unsure]}))
    expect(region).to_have_text("uncertain (perhaps fear)")
    box = {"left": 9, "top": 9, "side": 9}
    two = [face | {"box": box} for face in (predict("sad", 0.8), unsure)]
    faulty.unroute("**/predict?*")
    faulty.route("**/predict?*", lambda route: route.fulfill(json={"faces": two}))
    expect(region).to_have_text("2 faces: sad, uncertain")
    words, apart = read_said(faulty)
    assert words == ["sad", "uncertain (perhaps fear)", "2 faces: sad, uncertain"]
    assert min(apart) > 2900
    faulty.click("#stop-camera")
    expect(region).to_be_empty()


@in_browser
def test_faces_that_were_left_out_are_told(faulty: Page) -> None:
    box = {"left": 9, "top": 9, "side": 9}
    answer = {"faces": [predict("sad", 0.8, box=box)] * 2, "left_out": 5}
    results = {"results": [answer]}
    faulty.route("**/predict_batch?*", lambda route: route.fulfill(json=results))
    faulty.set_input_files("#files", PHOTO)
    expect(faulty.locator("figure .note")).to_have_text("the 2 largest faces; 5 more were found")


@pytest.mark.slow
@in_browser
def test_a_hasty_camera_is_read_aloud_every_few_seconds(faulty: Page) -> None:
    names = cycle(LABELS)
    faulty.route("**/predict?*", lambda route: route.fulfill(json=predict(next(names), 0.8)))
    note_said(faulty)
    faulty.click("#camera")
    faulty.wait_for_function("() => said.length === 3")
    faulty.unroute("**/predict?*")
    faulty.route("**/predict?*", lambda route: refuse(route, 503, message="Full.", wait="20"))
    # Asked only once, while the last words are being spoken.
    expect(faulty.locator("#live-said")).to_have_text("Full.")
    words, apart = read_said(faulty)
    assert len(words) == 4
    assert min(apart) > 2900


def gaps(page: Page) -> list[float]:
    """Milliseconds between the frames that the camera has sent."""
    found: list[float] = page.evaluate(
        """performance.getEntriesByType("resource")
            .filter(({ name }) => name.includes("/predict?"))
            .map(({ startTime }) => startTime)"""
    )
    return [later - earlier for earlier, later in pairwise(found)]


def wait_for_frames(page: Page, count: int) -> None:
    """Wait until the camera has sent as many frames from now on."""
    page.evaluate("performance.clearResourceTimings()")
    page.wait_for_function(
        """(count) => performance.getEntriesByType("resource")
            .filter(({ name }) => name.includes("/predict?")).length >= count""",
        arg=count,
    )


@pytest.mark.slow
@in_browser
def test_the_camera_asks_no_more_than_a_person_sees(faulty: Page) -> None:
    face = predict("sad", 0.8, box={"left": 9, "top": 40, "side": 90})
    faulty.route("**/predict?*", lambda route: refuse(route, 422, "no_face"))
    faulty.click("#camera")
    expect(faulty.locator("#live .verdict")).to_have_text("no face found")
    expect(faulty.locator("#pace")).to_contain_text(re.compile(r"an answer, [23] frames a second"))
    wait_for_frames(faulty, 4)
    assert min(gaps(faulty)) > 300
    faulty.unroute("**/predict?*")
    faulty.route("**/predict?*", lambda route: route.fulfill(json={"faces": [face]}))
    expect(faulty.locator("#live .verdict")).to_have_text("sad, 80 %")
    wait_for_frames(faulty, 12)
    found = gaps(faulty)
    assert 95 < min(found) < 300
    assert sum(found) / len(found) >= 100


@pytest.mark.slow
@in_browser
def test_the_camera_leads_to_the_key_and_back_on_a_phone(
    context: BrowserContext, server: str
) -> None:
    def check(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "right":
            route.continue_()
        else:
            refuse(route, 401)

    context.route(re.compile(r"/(info$|predict\?)"), check)
    page = context.new_page()
    # What a keyboard on the screen leaves of 740 pixels.
    page.set_viewport_size({"width": 360, "height": 400})
    page.goto(server)
    reason = page.locator("#status[role=status][aria-live=polite]")
    for _ in range(2):
        page.click("#camera")
        expect(reason).to_contain_text("asks for a valid access key")
        expect(page.locator("#key")).to_be_focused()
        for part in ("#key", "#status"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
        page.click("#stop-camera")
    page.set_viewport_size({"width": 360, "height": 740})
    page.click("#camera")
    # The refusal comes first; a key that overtakes it would be one more to refuse.
    expect(reason).to_contain_text("asks for a valid access key")
    expect(page.locator("#key")).to_be_focused()
    page.fill("#key", "right")
    page.press("#key", "Enter")
    for part in ("#stop-camera", "#video", "#live .verdict"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    expect(page.locator("#stop-camera")).to_be_focused()
    expect(reason).to_be_empty()


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize(
    ("error", "said"),
    [("NotAllowedError", "Allow it with the icon"), ("NotFoundError", "No camera was found.")],
)
def test_without_a_camera_it_says_what_to_do(page: Page, error: str, said: str) -> None:
    page.evaluate(
        """(name) => {
            const refuse = () => Promise.reject(new DOMException("Foreign words", name));
            navigator.mediaDevices.getUserMedia = refuse;
        }""",
        error,
    )
    page.click("#camera")
    expect(page.locator("#status")).to_contain_text(said)
    expect(page.locator("#status")).not_to_contain_text("Foreign")


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
    expect(page.locator("#status")).to_have_text("2 of 2 read: 1 answered, 1 not.")
    expect(page.locator("figure .note")).to_contain_text("2 faces found")
    expect(page.locator("figure .box")).to_have_text(["1", "2"])
    for box in page.locator("figure .box").all():
        frame, number = box.bounding_box(), box.locator(".number").bounding_box()
        assert frame and number
        assert not frame["y"] < number["y"] + number["height"] / 2 < frame["y"] + frame["height"]
    expect(page.locator("figure.many .thumb")).to_have_count(2)
    expect(page.locator("figure .fault")).to_contain_text("No face was found")
    page.get_by_role("button", name="show what led to it: happy, face 2 of group.png").click()
    expect(page.get_by_alt_text("red marks what led to happy")).to_have_count(1)
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
    page.get_by_role("button", name="read it as one face").focus()
    page.keyboard.press("Enter")
    expect(page.locator("figure .verdict")).to_have_count(1)
    expect(page.locator("figure .answer")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("crop.png: ")
    page.get_by_role("button", name="show what led to it").click()
    expect(page.locator("figure img.heat")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_the_model_card_is_one_click_away(page: Page) -> None:
    card = json.loads((ROOT / "models" / "compact" / "card.json").read_text())
    unseen = card["metrics"]["validation"]["not_in_train"]
    answered = card["calibration"]["coverage"]
    page.click("#model summary")
    expect(page.locator("#card")).to_contain_text(
        f"3589 faces; {100 * unseen['accuracy']:.0f} % of the {unseen['images']} of them"
    )
    expect(page.locator("#card")).to_contain_text(
        f"Of the other answers ({100 * answered:.0f} % of faces) 80 %"
    )
    blurred = page.get_by_text("blur, sigma 1 pixel")
    expect(blurred).to_have_count(1)
    expect(blurred).to_be_hidden()
    page.click("#card summary")
    expect(blurred).to_be_visible()


@pytest.mark.slow
@in_browser
def test_a_server_that_fails_is_told_in_words(faulty: Page) -> None:
    faulty.route("**/predict_batch*", lambda route: route.abort())
    faulty.set_input_files("#files", FACE)
    expect(faulty.locator("#status")).to_have_text("face.png: The service cannot be reached.")
    expect(faulty.locator("figure .note")).to_have_text("The service cannot be reached.")
    faulty.unroute("**/predict_batch*")
    faulty.get_by_role("button", name="ask again").click()
    expect(faulty.locator("figure .verdict")).to_have_count(1)
    expect(faulty.locator("#status")).to_have_text(re.compile(r"^face\.png: happy, \d\d\s%\.$"))


@pytest.mark.slow
@in_browser
def test_pictures_await_a_service_that_is_away(faulty: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(FACE.read_bytes()[:200])
    asked: list[Route] = []

    def answer_one(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()
        else:
            route.abort()

    faulty.route("**/predict_batch*", answer_one)
    faulty.set_input_files("#files", [broken] + [FACE] * 31)
    said = "8 of 32 read: 7 answered, 1 not; 24 still waiting for the service. "
    said += "The service cannot be reached."
    expect(faulty.locator("#status")).to_have_text(said)
    expect(faulty.locator("figure .fault")).to_have_count(1)
    expect(faulty.locator("figure .note")).to_have_text(["The service cannot be reached."] * 24)
    assert len(asked) == 2
    faulty.unroute("**/predict_batch*")
    faulty.get_by_role("button", name="ask again for 24 pictures").click()
    expect(faulty.locator("#status")).to_have_text("24 of 24 read.")


@pytest.mark.slow
@in_browser
def test_a_file_that_is_gone_is_not_a_service_that_is_away(faulty: Page, tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    shutil.copy(FACE, gone)

    def lose(route: Route) -> None:
        gone.unlink(missing_ok=True)
        route.continue_()

    faulty.route("**/predict_batch*", lose)
    faulty.set_input_files("#files", [FACE] * 8 + [gone, FACE])
    expect(faulty.locator("#status")).to_have_text("10 of 10 read: 9 answered, 1 not.")
    expect(faulty.locator("figure .fault")).to_have_text("The browser cannot read this file.")


@pytest.mark.slow
@in_browser
def test_a_busy_service_is_asked_again(faulty: Page) -> None:
    refused = iter((503, 429))

    def refuse_twice(route: Route) -> None:
        if status := next(refused, None):
            refuse(route, status, wait="1")
        else:
            route.continue_()

    faulty.route("**/predict_batch*", refuse_twice)
    faulty.set_input_files("#files", FACE)
    expect(faulty.locator("#status")).to_have_text("The service is busy; asking again in 1 s …")
    expect(faulty.locator("#status")).to_have_text(re.compile(r"^face\.png: happy, \d\d\s%\.$"))
    expect(faulty.locator("figure .verdict")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_a_picture_that_came_too_late_can_be_asked_for_again(faulty: Page) -> None:
    late = {"error": {"code": "deadline_exceeded", "message": "Late."}}
    answer = {"results": [predict("sad", 0.9), late]}
    faulty.route("**/predict_batch*", lambda route: route.fulfill(json=answer))
    faulty.set_input_files("#files", [FACE, FACE])
    said = "1 of 2 read; 1 still waiting for the service. Late."
    expect(faulty.locator("#status")).to_have_text(said)
    expect(faulty.locator("figure .note")).to_have_text("Late.")
    faulty.unroute("**/predict_batch*")
    faulty.get_by_role("button", name="ask again").click()
    expect(faulty.locator("figure .verdict")).to_have_count(2)


@pytest.mark.slow
@in_browser
def test_a_reason_that_had_to_wait_leaves_no_word_of_it(faulty: Page) -> None:
    refused = iter([503])

    def refuse_once(route: Route) -> None:
        if status := next(refused, None):
            refuse(route, status)
        else:
            route.continue_()

    faulty.route("**/explain*", refuse_once)
    faulty.set_input_files("#files", FACE)
    faulty.locator(".reason button").click()
    expect(faulty.locator("#status")).to_have_text("The service is busy; asking again in 1 s …")
    expect(faulty.locator("img.heat")).to_have_count(1)
    expect(faulty.locator("#status")).to_be_empty()


@pytest.mark.slow
@in_browser
def test_no_group_hurries_a_busy_service(faulty: Page) -> None:
    times: list[float] = []

    def note(route: Route) -> None:
        times.append(time.monotonic())
        refuse(route, 503, message="Full.", wait="0.3")

    faulty.route("**/predict_batch*", note)
    faulty.set_input_files("#files", [FACE] * 9)
    expect(faulty.locator("#status")).to_have_text(
        "0 of 9 read; 9 still waiting for the service. Full."
    )
    pairs = pairwise(times)
    assert len(times) == 8
    assert min(later - earlier for earlier, later in pairs) > 0.25
    faulty.unroute("**/predict_batch*")
    faulty.get_by_role("button", name="ask again for 9 pictures").click()
    expect(faulty.locator("#status")).to_have_text("9 of 9 read.")
    expect(faulty.get_by_role("button", name="ask again")).to_have_count(0)


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize(("status", "said"), [(429, "ask again in 2 s"), (502, "answered 502")])
def test_a_refusal_is_told_in_words(faulty: Page, status: int, said: str) -> None:
    body = {} if status == 502 else {"error": {"code": "c", "message": "Stop; ask again in 2 s."}}
    headers = {"Retry-After": "0.1"}
    faulty.route(
        "**/predict_batch*",
        lambda route: route.fulfill(status=status, headers=headers, json=body),
    )
    faulty.set_input_files("#files", FACE)
    expect(faulty.locator("#status")).to_contain_text(said)
    expect(faulty.locator("figure .note")).to_contain_text(said)


@pytest.mark.slow
@in_browser
def test_a_slow_service_is_waited_for_until_stopped(context: BrowserContext, server: str) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(server)
    held = hold(page, "**/predict_batch*")
    page.set_input_files("#files", [FACE, FACE])
    page.set_input_files("#files", FACE)
    expect(page.locator("#status")).to_have_text("0 of 3 read …")
    expect(page.locator("#elapsed")).to_be_empty()
    page.clock.run_for(7000)
    expect(page.locator("#elapsed")).to_contain_text(re.compile(r"still waiting, \d+ s"))
    page.get_by_role("button", name="stop").click()
    expect(page.locator("#status")).to_have_text("Stopped; 0 of 3 answered.")
    expect(page.locator("#working")).to_be_hidden()
    expect(page.locator("figure .note")).to_have_text(["Stopped before the answer."] * 3)
    assert len(held) == 1
    page.unroute("**/predict_batch*")
    page.get_by_role("button", name="ask again for 3 pictures").click()
    expect(page.locator("#status")).to_have_text("3 of 3 read.")


@pytest.mark.slow
@in_browser
def test_what_wants_a_key_goes_on_once_there_is_one(context: BrowserContext, server: str) -> None:
    def check(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "right":
            route.continue_()
        else:
            refuse(route, 401)

    context.route(re.compile("/(info$|predict_batch)"), check)
    page = context.new_page()
    page.goto(server)
    page.click("#model summary")
    expect(page.locator("#key")).to_be_focused()
    page.set_input_files("#files", FACE)
    expect(page.locator("#status")).to_contain_text("enter it above")
    # Another one changes nothing of that.
    page.set_input_files("#files", FACE)
    expect(page.locator("figure")).to_have_count(2)
    expect(page.locator("#status")).to_contain_text("enter it above")
    # The latter as word processors quote, which no header can hold.
    for wrong in ("wrong", "\u201cright\u201d"):
        page.fill("#key", wrong)
        page.get_by_role("button", name="use this key").click()
        expect(page.locator("#key-said")).to_have_text("key not accepted")
    page.fill("#key", "right")
    expect(page.locator("#key-said")).to_be_empty()
    page.press("#key", "Enter")
    expect(page.locator("#key-said")).to_have_text("key accepted")
    expect(page.locator("figure .verdict")).to_have_count(2)
    expect(page.locator("#card")).to_contain_text("3589 faces")
    page.reload()
    expect(page.locator("#key")).to_have_value("right")
    page.set_input_files("#files", FACE)
    expect(page.locator("figure .verdict")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_a_reason_that_fails_can_be_asked_for_again(faulty: Page) -> None:
    held = hold(faulty, "**/explain*")
    faulty.set_input_files("#files", FACE)
    button = faulty.locator(".reason button")
    button.click()
    expect(button).to_have_text("looking …")
    held[0].abort()
    expect(faulty.locator(".reason .fault")).to_have_text("The service cannot be reached.")
    faulty.unroute("**/explain*")
    expect(button).to_have_text("show what led to it")
    button.click()
    expect(faulty.locator("img.heat")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_a_file_whose_name_does_not_tell_its_type_is_explained(page: Page, tmp_path: Path) -> None:
    shutil.copy(FACE, tmp_path / "face")
    page.set_input_files("#files", tmp_path / "face")
    page.locator(".reason button").click()
    expect(page.locator("img.heat")).to_have_count(1)


@pytest.mark.slow
@in_browser
def test_an_uncertain_answer_looks_so(faulty: Page) -> None:
    clear = predict("sad", 0.38, uncertain=True)
    tie = predict("sad", 0.38, uncertain=True)
    tie["scores"]["fear"] = 0.35
    faulty.route("**/predict_batch*", lambda route: route.fulfill(json={"results": [clear, tie]}))
    faulty.set_input_files("#files", [FACE, FACE])
    verdicts = ["uncertain (perhaps sad), 38 %", "uncertain (sad or fear), 38 % and 35 %"]
    expect(faulty.locator("figure .verdict.unsure")).to_have_text(verdicts)
    expect(faulty.locator("figure").first).to_contain_text("the model is wrong too often")


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize(
    ("status", "code"),
    [(408, "request_timeout"), (413, "too_many_pixels"), (503, "deadline_exceeded")],
)
def test_pictures_that_are_too_much_together_are_sent_apart(
    faulty: Page, tmp_path: Path, status: int, code: str
) -> None:
    def take_one(route: Route) -> None:
        if (route.request.post_data_buffer or b"").count(b"filename=") < 2:
            route.continue_()
        else:
            refuse(route, status, code, wait="0.1")

    large = tmp_path / "large.png"
    large.write_bytes(FACE.read_bytes() + bytes(9 * 2**20))
    sizes: list[int] = []
    faulty.on("request", lambda request: sizes.append(len(request.post_data_buffer or b"")))
    faulty.route("**/predict_batch*", take_one)
    faulty.set_input_files("#files", [FACE, FACE, FACE, large, large])
    expect(faulty.locator("#status")).to_have_text("5 of 5 read.")
    expect(faulty.locator("figure .verdict")).to_have_count(5)
    assert max(sizes) < 10 * 2**20
    # Three faces at once, two, and each of the five alone.
    assert len(sizes) == 7


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("lacks", ["AbortSignal.any", "Promise.withResolvers"])
def test_an_old_browser_is_named_as_the_reason(
    context: BrowserContext, server: str, lacks: str
) -> None:
    complaints: list[str] = []
    context.add_init_script(f"delete {lacks};")
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server)
    expect(page.get_by_role("alert")).to_have_text("This page needs a browser of 2024 or later.")
    for part in ("#drop", "#access", "#model"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("#status")).to_be_empty()
    assert complaints == []


@pytest.mark.slow
@in_browser
def test_without_scripts_it_says_that_it_needs_them(browser: Browser, server: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server)
    words = page.locator("noscript p")
    expect(words).to_be_visible()
    assert "This page needs JavaScript" in words.inner_text()
    expect(page.locator("#drop")).to_be_hidden()
    context.close()


def luminance(colour: str) -> float:
    """As WCAG 2 defines it, of `rgb(r, g, b)`."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_edge_of_what_is_to_be_filled_in_is_seen(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    read = "([part, name]) => getComputedStyle(document.querySelector(part))[name]"
    parts = (["#key", "borderTopColor"], ["body", "backgroundColor"])
    edge, ground = (luminance(page.evaluate(read, part)) for part in parts)
    assert (max(edge, ground) + 0.05) / (min(edge, ground) + 0.05) >= 3


@pytest.mark.slow
@in_browser
def test_it_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    face = tmp_path / f"{'long' * 20}.png"
    face.write_bytes(encode(make_faces(1).images[0]))
    page.set_input_files("#files", face)
    expect(page.locator("figure .verdict")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for part in ("#status", "figure .verdict", "figure .bars"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    with page.expect_popup() as large:
        page.locator("figure .stage a").click()
    assert large.value.url.startswith("blob:")
