"""The command that labels a folder, against a real server, and the table it writes."""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from facial_emotion_client.__main__ import describe, main
from facial_emotion_client.folder import Tally, label_folder
from facial_emotion_client.images import ENDINGS, fingerprint
from facial_emotion_client.options import build_parser
from facial_emotion_client.results import Box, Faces, Failure, Prediction, Result
from facial_emotion_client.table import LABELS as TABLE_LABELS
from facial_emotion_client.table import Table, TableError
from PIL import Image

from service.labels import LABELS
from tests.conftest import encode, make_faces
from tests.live import ROOT, as_no_superuser, free_port, running

FACE = Prediction("happy", 0.5, True, {"happy": 0.5}, "m:1", Box(1, 2, 3))


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[str]:
    with running(environment | {"EMOTION_WORKERS": "1"}) as (address, _):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine faces in two folders, a broken image and a text."""
    root = tmp_path / "pictures"
    (root / "more, with comma").mkdir(parents=True)
    for number, face in enumerate(make_faces(9).images):
        place = root / "more, with comma" if number % 2 else root
        (place / f"{number}.png").write_bytes(encode(face))
    (root / "broken.JPG").write_bytes(b"no image")
    (root / "readme.txt").write_text("no image")
    return root


def read_table(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix == ".json":
        rows: list[dict[str, Any]] = json.loads(text)
        return rows
    return [json.loads(line) for line in text.splitlines()]


def test_the_table_has_the_services_labels() -> None:
    assert TABLE_LABELS == LABELS


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_folder_is_labelled(
    server: str, folder: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / f"labels.{ending}"
    arguments = [str(folder), "--out", str(out), "--url", server, "--group-size", "4"]
    assert main(arguments) == 2
    assert "9 labelled, 1 failed" in capsys.readouterr().out
    rows = read_table(out)
    assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)
    assert len(rows) == 10
    (broken,) = (row for row in rows if row["error"])
    assert (broken["image"], broken["error"]) == ("broken.JPG", "unsupported_format")
    assert all(row["label"] in LABELS for row in rows if not row["error"])
    # The failure of the first run is still in the table.
    assert main([*arguments, "--quiet"]) == 2
    assert "1 labelled, 0 failed; before: 8 labelled, 1 failed" in capsys.readouterr().out
    # The last image may stand in another batch the second time, and be rounded otherwise.
    assert read_table(out)[:-1] == rows[:-1]
    assert all(row["image"] == was["image"] for row, was in zip(read_table(out), rows, strict=True))


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_mended_image_is_done_again_on_request(
    server: str, folder: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / f"labels.{ending}"
    arguments = [str(folder), "--out", str(out), "--url", server, "--quiet"]
    assert main(arguments) == 2
    (folder / "broken.JPG").write_bytes((folder / "0.png").read_bytes())
    assert main(arguments) == 2
    assert "--retry" in capsys.readouterr().out
    assert main([*arguments, "--retry"]) == 0
    assert "2 labelled, 0 failed; before: 8 labelled, 0 failed" in capsys.readouterr().out
    rows = read_table(out)
    assert len({row["image"] for row in rows}) == len(rows) == 10
    assert not any(row["error"] for row in rows)


def test_a_photo_has_a_row_for_each_face(server: str, tmp_path: Path) -> None:
    photo = Image.open(ROOT / "examples" / "photo.jpg")
    twice = Image.new("RGB", (2 * photo.width, photo.height))
    twice.paste(photo)
    twice.paste(photo, (photo.width, 0))
    (tmp_path / "pictures").mkdir()
    twice.save(tmp_path / "pictures" / "two.jpg")
    out = tmp_path / "labels.csv"
    assert main([str(tmp_path / "pictures"), "--out", str(out), "--url", server, "--faces"]) == 0
    rows = read_table(out)
    assert [row["image"] for row in rows] == ["two.jpg"] * 2
    assert sorted(int(row["left"]) > photo.width for row in rows) == [False, True]
    assert [row["left_out"] for row in rows] == ["0", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on(server: str, tmp_path: Path, number: int) -> None:
    root, out = tmp_path / "pictures", tmp_path / "labels.json"
    root.mkdir()
    for index in range(400):
        (root / f"{index:03}.png").write_bytes(encode(make_faces(1, index).images[0]))
    command = [sys.executable, "-m", "facial_emotion_client", str(root), "--out", str(out)]
    command += ["--url", server, "--quiet", "--group-size", "2", "--parallel", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not out.exists() or out.stat().st_size < 5000:
            time.sleep(0.01)
        process.send_signal(number)
        complaint = process.communicate()[1].decode()
    rows = out.read_text().count('"image"')
    assert 10 < rows < 400
    if number == signal.SIGINT:
        assert process.returncode == 130, complaint
        assert len(json.loads(out.read_text())) == rows
    assert main([*command[3:], "--group-size", "64"]) == 0
    table = read_table(out)
    assert [row["image"] for row in table] == [f"{index:03}.png" for index in range(400)]


def test_without_a_service_it_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.csv"
    address = f"http://127.0.0.1:{free_port()}"
    assert main([str(folder), "--out", str(out), "--url", address, "--patience", "0"]) == 1
    complaint = capsys.readouterr().err
    assert f"No answer from {address}: " in complaint
    assert len(complaint.splitlines()) == 1
    assert not out.exists()


def test_a_wait_for_an_absent_service_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, address = tmp_path / "labels.csv", f"http://127.0.0.1:{free_port()}"
    arguments = [str(ROOT / "examples"), "--out", str(out), "--patience", "1"]
    assert main([*arguments, "--url", address.replace("//", "//name:secret@")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"waits up to 1 s for {address} (--patience, --url)"
    assert lines[1].startswith(f"error: No answer from {address}: ")
    assert len(lines) == 2


def test_a_wait_for_a_busy_service_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(503) as address:
        arguments = ["--out", str(tmp_path / "labels.csv"), "--patience", "4", "--url", address]
        assert main([str(ROOT / "examples"), *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"waits up to 4 s for {address}, which answers 503 (--patience, --url)"
    assert lines[1].startswith("error: ")
    assert len(lines) == 2


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that says nothing but this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    ("status", "passes"),
    [(0, True), (429, True), (503, True), (401, False), (403, False), (404, False)],
)
def test_going_on_is_promised_where_it_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, passes: bool, begun: bool
) -> None:
    out = tmp_path / "labels.csv"
    if begun:
        out.touch()
    arguments = [str(ROOT / "examples"), "--out", str(out), "--patience", "0", "--url"]
    with answering(status) as address:
        absent = f"http://127.0.0.1:{free_port()}"
        assert main([*arguments, address if status else absent]) == 1
    said = capsys.readouterr().err
    assert ("to resume" in said) == (begun and passes)
    assert ("variable EMOTION_API_KEY" in said) == (status == 401)


@pytest.mark.parametrize("path", ["", "/predict"])
def test_an_address_of_something_else_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    arguments = [str(ROOT / "examples"), "--out", str(tmp_path / "labels.csv"), "--url"]
    with answering(404) as address:
        assert main([*arguments, address + path]) == 1
        text = f"error: {address}{path} is not the address of a facial-emotion service. (http_404)"
    assert capsys.readouterr().err == f"{text}\n"


def test_other_files_are_counted(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "pictures"
    (root / ".cache").mkdir(parents=True)
    (root / "0.png").write_bytes(encode(make_faces(1).images[0]))
    arguments = [str(root), "--out", str(root / "labels.csv"), "--url", server, "--quiet"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith("1 labelled, 0 failed\n")
    for name in ("a.GIF", "b.gif", "c.avif", ".hidden.gif", ".cache/d.gif", "d", "._0.png"):
        (root / name).touch()
    # The table is no such file either.
    assert main(arguments) == 0
    words = "; 4 files of other kinds left out (.avif, .gif, no ending)\n"
    assert capsys.readouterr().out.endswith(words)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pictures", 1, 2)
    make_folder(root / "open", 1, 1)
    make_folder(root / "closed", 1, 1).chmod(0)
    make_folder(root / ".Trashes", 1, 1).chmod(0)
    text = f"""
import sys
from pathlib import Path
from facial_emotion_client import __main__ as command
from facial_emotion_client.images import find_images
async def label(options):
    found = find_images(options.folder, Path("labels.csv"))
    return command.Tally(labelled=len(found.names), closed=found.closed)
command.label = label
sys.exit(command.main([{str(root)!r}]))
"""
    command = [*as_no_superuser(), sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "labels.csv: 3 labelled, 0 failed; 1 folder(s) could not be read, such as "
    assert (done.returncode, done.stdout, done.stderr) == (2, f"{said}{root / 'closed'}\n", "")
    command[-1] = text.replace(str(root), str(root / "closed"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in ("closed", ".Trashes"):
        (root / name).chmod(0o700)
    assert done.returncode == 1
    assert done.stderr.endswith(f"Permission denied: '{root / 'closed'}'\n")


def test_many_kinds_of_other_files_are_cut_short() -> None:
    others = Counter({f".{number}": 9 - number for number in range(9)})
    words = "; 45 files of other kinds left out (.0, .1, .2, .3, .4, ...)"
    assert describe(Tally(others=others)).endswith(words)
    words = "; 1 file of another kind left out (.gif)"
    assert describe(Tally(others=Counter([".gif"]))).endswith(words)


@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("unread", ["exec >&-", "exec > /dev/full", "exec > >(exit); sleep 1"])
def test_an_output_that_nobody_reads_changes_no_status(failed: int, unread: str) -> None:
    text = f"""
import sys
from facial_emotion_client import __main__ as command
async def label(_):
    return command.Tally(labelled=1, failed={failed})
command.label = label
sys.exit(command.main(["pictures"]))
"""
    # Without PYTHONUNBUFFERED, as a user has it: what is left is written at the end.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = ["bash", "-c", f'{unread}; exec "$@"', "-", sys.executable, "-c", text]
    done = subprocess.run(command, env=variables, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2 * failed, "")


def test_the_help_names_the_endings() -> None:
    assert all(ending in build_parser().format_help() for ending in ENDINGS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "is not a folder"),
        ([str(ROOT / "tests"), "--quiet"], "holds no image (.bmp, .jfif"),
        ([str(ROOT / "examples"), "--out", "labels.txt"], "must end in"),
        ([str(ROOT / "examples"), "--url", "localhost"], "does not start with http"),
    ],
)
def test_wrong_options_are_told(
    arguments: list[str],
    words: str,
    server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    defaults = ["--out", str(tmp_path / "labels.csv"), "--url", server]
    assert main([*defaults, *arguments]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--group-size", value) for value in ("0", "-1", "1.5", "many")),
        ("--parallel", "0"),
        *(("--patience", value) for value in ("-1", "nan", "long")),
    ],
)
def test_wrong_numbers_are_refused_before_there_is_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    out = tmp_path / "labels.csv"
    with pytest.raises(SystemExit) as end:
        main([str(ROOT / "examples"), "--out", str(out), f"{option}={value}"])
    assert end.value.code == 1
    assert f"error: argument {option}: '{value}' is not a" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://localhost:1080", "names a SOCKS proxy, which needs: pip install 'httpx[socks]'"),
        ("ftp://localhost", "names no proxy: Unknown scheme"),
        ("http://[::1", "names no proxy: Invalid port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
    words: str,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, "socksio", None)
    assert main([str(ROOT / "examples"), "--out", str(tmp_path / "labels.csv")]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: HTTP_PROXY, HTTPS_PROXY or ALL_PROXY ")
    assert words in complaint


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["a.png"]])
def test_another_models_table_is_not_continued(
    server: str, folder: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    out = folder.parent / "labels.csv"
    with Table(out) as table:
        for name in names:
            table.add(name, Faces([FACE]))
    before = out.read_bytes()
    for _ in range(2):
        assert main([str(folder), "--out", str(out), "--url", server, "--retry"]) == 1
        assert "holds answers of m:1" in capsys.readouterr().err
    assert out.read_bytes() == before


def make_folder(root: Path, seed: int, count: int, ending: str = "png") -> Path:
    root.mkdir()
    for number, face in enumerate(make_faces(count, seed).images):
        Image.fromarray(face).save(root / f"{number}.{ending}")
    return root


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
@pytest.mark.parametrize(
    "case",
    [
        (3, 2, "png", "holds images that are not in {} (first: 2.png); name another file by --out"),
        # A table of one image has no row that is kept.
        (1, 3, "png", "holds answers for another 0.png than the one in {}; name another file"),
        # Bitmaps of one width and height have one size.
        (3, 4, "bmp", "holds answers for another 0.bmp than the one in {}; name another file"),
    ],
)
def test_a_table_of_another_folder_is_left_alone(
    server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[int, int, str, str],
    kind: str,
) -> None:
    in_first, in_second, ending, words = case
    first = make_folder(tmp_path / "first", 1, in_first, ending)
    second = make_folder(tmp_path / "second", 2, in_second, ending)
    arguments = ["--out", str(tmp_path / f"labels.{kind}"), "--url", server, "--quiet"]
    assert main([str(first), *arguments]) == 0
    before = (tmp_path / f"labels.{kind}").read_bytes()
    for more in ([], ["--retry"]):
        assert main([str(second), *arguments, *more]) == 1
        assert words.format(second) in capsys.readouterr().err
    assert (tmp_path / f"labels.{kind}").read_bytes() == before
    first.rename(tmp_path / "moved")
    assert main([str(tmp_path / "moved"), *arguments]) == 0


@pytest.mark.parametrize("more", [[], ["--retry"]])
def test_a_broken_image_may_be_removed(server: str, tmp_path: Path, more: list[str]) -> None:
    root = make_folder(tmp_path / "pictures", 1, 3)
    (root / "1.png").write_bytes(b"broken")
    arguments = [str(root), "--out", str(tmp_path / "labels.csv"), "--url", server, "--quiet"]
    assert main(arguments) == 2
    (root / "1.png").unlink()
    assert main([*arguments, *more]) == 0
    assert "1.png" not in (tmp_path / "labels.csv").read_text()


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("lacking", [["left_out"], ["fingerprint", "left_out"]])
def test_a_table_from_before_a_column_is_continued(
    server: str, tmp_path: Path, kind: str, lacking: list[str]
) -> None:
    root, out = make_folder(tmp_path / "pictures", 1, 3), tmp_path / f"labels.{kind}"
    arguments = [str(root), "--out", str(out), "--url", server, "--quiet"]
    assert main(arguments) == 0
    rows = read_table(out)
    count, first = len(lacking), lacking[0]
    columns = rf"(,[^,\r]*){{{count}}}(?=\r)" if kind == "csv" else rf', "{first}": [^}}]*'
    out.write_bytes(re.sub(columns.encode(), b"", out.read_bytes()))
    assert not any(row.keys() & lacking for row in read_table(out))
    assert main(arguments) == 0
    again = read_table(out)
    assert [row["image"] for row in again] == [row["image"] for row in rows]
    for name in lacking:
        assert [row[name] in ("", None) for row in again] == [True, True, False]


class Swapped:
    """Stands for a client whose service takes up another model within the run."""

    async def model(self) -> str:
        return "m:1"

    async def predict_many(self, images: Iterable[Path], **_: Any) -> AsyncIterator[Result]:
        for number, _image in enumerate(images):
            yield Faces([replace(FACE, model="m:1" if number < 3 else "m:2")])


def test_the_answers_of_two_models_are_not_mixed(folder: Path) -> None:
    out = folder.parent / "labels.csv"
    client: Any = Swapped()
    with pytest.raises(TableError, match="took up m:2 in place of m:1"):
        asyncio.run(label_folder(client, folder, out, quiet=True))
    assert [row["model"] for row in read_table(out)] == ["m:1"] * 3


def test_requests_under_way_end_before_their_client_is_closed(folder: Path) -> None:
    ended: list[bool] = []

    class Busy(Swapped):
        async def predict_many(self, images: Iterable[Path], **_: Any) -> AsyncIterator[Result]:
            try:
                async for result in super().predict_many(images):
                    yield result
            finally:
                ended.append(True)

    async def label() -> list[bool]:
        client: Any = Busy()
        with pytest.raises(TableError):
            await label_folder(client, folder, folder.parent / "labels.csv", quiet=True)
        # Of now: at the loop's end all generators are closed anyway.
        return ended.copy()

    assert asyncio.run(label()) == [True]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("faces", [True, False])
def test_found_faces_and_whole_images_are_not_mixed(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, faces: bool
) -> None:
    arguments = [str(ROOT / "examples"), "--out", str(tmp_path / f"t.{ending}"), "--url", server]
    first, second = ([], ["--faces"]) if faces else (["--faces"], [])
    assert main([*arguments, *first]) == 0
    before = (tmp_path / f"t.{ending}").read_bytes()
    assert len(read_table(tmp_path / f"t.{ending}")) == 2
    assert main([*arguments, *second]) == 1
    assert "name another file" in capsys.readouterr().err
    assert (tmp_path / f"t.{ending}").read_bytes() == before
    assert main([*arguments, *first]) == 0


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_table_torn_anywhere_is_continued(tmp_path: Path, ending: str) -> None:
    whole, torn = tmp_path / f"whole.{ending}", tmp_path / f"torn.{ending}"
    results: dict[str, Result] = {
        "a.png": Faces([FACE, FACE]),
        "b \udcff\n.png": Failure("no_face", 'a "word", and more'),
        "c.png": Faces([FACE, FACE, FACE], 2),
    }
    with Table(whole) as table:
        for name, result in results.items():
            table.add(name, result)
    assert str(read_table(whole)[-1]["left_out"]) == "2"
    content = whole.read_bytes()
    for end in range(len(content)):
        torn.write_bytes(content[:end])
        with Table(torn) as table:
            assert table.labelled <= results.keys(), end
            for name, result in results.items():
                if name not in table.done:
                    table.add(name, result)
        assert torn.read_bytes() == content, end


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_foreign_file_is_left_alone(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    for text in ("a,b\n1,2\n", '[{"a": 1}]', '{"a": 1}\n', "word"):
        path.write_text(text)
        with pytest.raises(TableError, match="something else"):
            Table(path)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("begun", [True, False])
def test_a_table_is_not_open_when_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Windows renames no file that is open."""
    replaced: list[Path] = []

    def replace_closed(fresh: Path, path: Path) -> None:
        opened = {link.resolve() for link in Path("/proc/self/fd").iterdir()}
        assert not opened & {fresh, path}
        replaced.append(path)
        os.replace(fresh, path)  # noqa: PTH105

    out = tmp_path / "labels.csv"
    if begun:
        with Table(out) as table:
            table.add("a.png", Faces([FACE]))
            table.add("b.png", Faces([FACE]))
    monkeypatch.setattr(Path, "replace", replace_closed)
    with Table(out) as table:
        table.add("b.png", Faces([FACE]))
    assert replaced == [out]
    assert [row["image"] for row in read_table(out)] == ["a.png", "b.png"][not begun :]


def test_a_fingerprint_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert fingerprint(tmp_path / "pipe.png") is None
    assert fingerprint(tmp_path / "absent.png") is None
