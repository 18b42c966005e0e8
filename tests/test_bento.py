"""The Bento: built, built again, carried to a machine with an empty store, and served there."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from service.labels import LABELS
from service.version import VERSION
from tests.live import ROOT, as_no_superuser, run_tool, running

pytestmark = pytest.mark.slow


def build(variables: dict[str, str], *prefix: str) -> Path:
    """The folder of a new Bento."""
    bentos = Path(variables["BENTOML_HOME"]) / "bentos" / "facial-emotion"
    before = set(bentos.glob("*/"))
    command = [*prefix, sys.executable, "-m", "bentoml", "build"]
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = set(bentos.glob("*/")) - before
    return made


def read_files(folder: Path) -> dict[str, str]:
    """Digest of each file; without what names the build itself."""
    manifest = yaml.safe_load((folder / "bento.yaml").read_text())
    del manifest["version"], manifest["creation_time"]
    for service in manifest["services"]:
        for model in service["models"]:
            del model["creation_time"]
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "bento.yaml"
    }
    return files | {"bento.yaml": yaml.safe_dump(manifest)}


@pytest.fixture(scope="module")
def bento(environment: dict[str, str]) -> Path:
    return build(environment)


def test_it_holds_the_service_the_lock_and_the_model_alone(
    bento: Path, environment: dict[str, str]
) -> None:
    source = bento / "src"
    carried = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    patterns = ("service/**/*.py", "service/page/*")
    service = {str(file.relative_to(ROOT)) for name in patterns for file in ROOT.glob(name)}
    assert carried == service | {"bentofile.yaml", "LICENSE", "models/LICENSE"}
    lock = (bento / "env" / "python" / "requirements.txt").read_text().split()
    assert set(lock) == set((ROOT / "requirements.txt").read_text().split())
    model = run_tool(["-m", "search", "publish"], environment).stdout.strip()
    assert model in (bento / "bento.yaml").read_text()


def test_a_second_build_has_the_same_contents(bento: Path, environment: dict[str, str]) -> None:
    assert read_files(build(environment)) == read_files(bento)


def test_it_is_built_without_a_network(bento: Path, environment: dict[str, str]) -> None:
    alone = ("unshare", "--net", "--map-root-user")
    if not shutil.which(alone[0]) or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this machine does not let a process leave the network")
    assert read_files(build(environment, *alone)) == read_files(bento)


def test_elsewhere_it_serves_from_an_empty_store(
    bento: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    tag, archive = f"facial-emotion:{bento.name}", tmp_path / "carried.bento"
    done = run_tool(["-m", "bentoml", "export", tag, str(archive)], environment)
    assert done.returncode == 0, done.stderr
    elsewhere = {**environment, "BENTOML_HOME": str(tmp_path / "store"), "EMOTION_WORKERS": "1"}
    done = run_tool(["-m", "bentoml", "import", str(archive)], elsewhere)
    assert done.returncode == 0, done.stderr
    with running(elsewhere, served=tag, folder=tmp_path) as (address, _):
        face = (ROOT / "examples" / "face.png").read_bytes()
        answer = httpx.post(f"{address}/predict", files={"image": face}, timeout=30)
        assert answer.json()["label"] in LABELS
        assert httpx.get(f"{address}/info").json()["version"] == VERSION
        # One worker, however many the Bento's maker had.
        models = re.findall(r"^emotion_model_info{.+} (.+)$", read_metrics(address), re.MULTILINE)
        assert models == ["1.0"]


def read_metrics(address: str) -> str:
    return httpx.get(f"{address}/metrics").text


def fail_to_build(variables: dict[str, str]) -> str:
    """The one line of a build that fails."""
    done = run_tool(["-m", "bentoml", "build"], variables)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("model", "words", "command"),
    [
        ("facial-emotion:latest", "no model facial-emotion:latest in the", "make model"),
        ("facial-emotion:0", "no model facial-emotion:0 in the", "bentoml models list"),
        ("bad tag!", "EMOTION_MODEL='bad tag!'", "bentoml models list"),
    ],
)
def test_without_its_model_the_build_says_what_to_run(
    environment: dict[str, str], tmp_path: Path, model: str, words: str, command: str
) -> None:
    line = fail_to_build({**environment, "BENTOML_HOME": str(tmp_path), "EMOTION_MODEL": model})
    assert words in line
    assert line.endswith(f"; run: {command}")
    assert not list(tmp_path.glob("bentos/*/*"))


def test_of_a_torn_model_the_build_says_what_mends_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(Path(environment["BENTOML_HOME"]) / "models", tmp_path / "models")
    (weights,) = tmp_path.glob("models/*/*/weights.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    torn = {**environment, "BENTOML_HOME": str(tmp_path)}
    line = fail_to_build(torn)
    assert str(weights) in line
    own = f"bentoml models delete facial-emotion:{weights.parent.name}"
    assert line.endswith(f"; run: make model (your own: publish it again, or run: {own})")
    mend_store(torn)
    assert weights.read_bytes() == whole
    for name in ("golden.safetensors", "*.onnx"):
        (file,) = weights.parent.glob(name)
        file.write_bytes(file.read_bytes()[:-9])
        mend_store(torn)
    # Also where BentoML cannot even list it.
    weights.with_name("model.yaml").unlink()
    mend_store(torn)
    assert weights.with_name("model.yaml").is_file()
    assert not run_tool(["-m", "search", "publish"], torn).stderr


def mend_store(variables: dict[str, str]) -> None:
    """Publish over a damaged copy, which one line tells."""
    done = run_tool(["-m", "search", "publish"], variables)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"the store's {done.stdout.strip()} was damaged (")
    assert line.endswith("; it is put there again")


def make_file(home: Path) -> None:
    home.touch()


def make_loop(home: Path) -> None:
    home.symlink_to(home)


def make_blocked(home: Path) -> None:
    """A file in the place of the models."""
    home.mkdir()
    (home / "models").touch()


def make_unwritable(home: Path) -> None:
    home.mkdir(0o555)


@pytest.mark.parametrize("spoil", [make_file, make_loop, make_blocked, make_unwritable])
def test_of_a_store_that_cannot_be_used_one_line_tells(
    environment: dict[str, str], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    spoil(home)
    variables = {**environment, "BENTOML_HOME": str(home)}
    done = run_tool(["-m", "search", "publish"], variables, as_no_superuser())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(home) in line
    assert line.endswith("; run: make model BENTOML_HOME=ANOTHER-FOLDER")
