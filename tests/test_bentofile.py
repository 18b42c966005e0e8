"""What is shipped: the Bento's files and pins, and one version everywhere."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.routes.openapi import describe_api
from service.version import VERSION

ROOT = Path(__file__).parents[1]


def list_pins(text: str) -> list[str]:
    """The pins of a lock, in its order, without the hashes that belong to them."""
    return re.sub(r" \\\n +--hash=\S+", "", text).split()


def read_pins(name: str) -> dict[str, str]:
    """The version of each package in a lock."""
    pins = (line.split("==") for line in list_pins((ROOT / name).read_text()))
    return {canonicalize_name(name): version for name, version in pins}


def find_needed(texts: list[str]) -> set[str]:
    """The packages named, and all that they need here."""
    todo, found = [Requirement(text) for text in texts], set()
    while todo:
        wanted = todo.pop()
        extras = ["", *wanted.extras]
        for text in requires(wanted.name) or []:
            need = Requirement(text)
            fits = need.marker is None or any(need.marker.evaluate({"extra": x}) for x in extras)
            if (
                fits
                and (key := (canonicalize_name(need.name), frozenset(need.extras))) not in found
            ):
                found.add(key)
                todo.append(need)
    return {name for name, _ in found} | {
        canonicalize_name(Requirement(text).name) for text in texts
    }


def test_the_lock_is_what_make_lock_writes() -> None:
    """As `make lock` would from pyproject.toml, constraints.txt and its own options."""
    (recipe,) = re.findall(
        r"^lock:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = list(project["dependencies"])
    for extra in re.findall(r"--extra (\w+)", recipe):
        packages += project["optional-dependencies"][extra]
    pins = read_pins("constraints.txt")
    lines = [f"{name}=={pins[name]}" for name in sorted(find_needed(packages))]
    assert list_pins((ROOT / "requirements.txt").read_text()) == lines


def test_every_package_of_the_lock_has_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        assert re.fullmatch(r"\S+==\S+(\s+--hash=sha256:[0-9a-f]{64})+", line), line


def test_what_make_serve_installs_can_do_what_is_shipped() -> None:
    text = (ROOT / "Makefile").read_text()
    (installed,) = re.findall(r"INSTALL\) --editable '\.\[(.+)\]'$", text, re.MULTILINE)
    assert set(re.findall(r"--extra (\w+)", text)) <= set(installed.split(","))


def test_the_bento_takes_the_lock_and_the_service_alone() -> None:
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert bento["python"]["requirements_txt"] == "./requirements.txt"
    others = {pattern for pattern in bento["include"] if not pattern.startswith("service/")}
    # Without its slash a name is that of a file in any folder.
    assert others == {"/LICENSE", "/models/LICENSE"}


def test_the_generated_dockerfile_passes_debians_pip() -> None:
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    # With a stage BentoML would make it a secret, which pip does not see.
    assert {"name": "PIP_BREAK_SYSTEM_PACKAGES", "value": "1"} in bento["envs"]


def test_the_client_has_the_projects_licence() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    (file,) = client["license-files"]
    assert (ROOT / "client" / file).read_text() == (ROOT / "LICENSE").read_text()


def test_there_is_one_version() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert client["version"] == VERSION
    assert f'"version": "{VERSION}"' in describe_api().decode()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION
