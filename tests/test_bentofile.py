import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_bento_and_project_need_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = project["dependencies"] + project["optional-dependencies"]["faces"]
    needed = {normal(re.split("[=<>]", text)[0]) for text in packages}
    listed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert {normal(text.split("==")[0]) for text in listed} == needed


def test_the_bento_pins_what_is_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    pins = {normal(name): version for name, version in (line.split("==") for line in lines)}
    for text in yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]:
        name, version = text.split("==")
        assert pins[normal(name)] == version
