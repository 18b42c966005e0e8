"""The client's README against the client."""

import argparse
import re
import tomllib

from facial_emotion_client import AsyncEmotionClient, EmotionClient
from facial_emotion_client.images import ENDINGS
from facial_emotion_client.options import KEY, build_parser

from tests.live import ROOT

CLIENT = ROOT / "client"
TEXT = (CLIENT / "README.md").read_text()


def read_table(first: str) -> dict[str, str]:
    """The first two columns of the rows that begin so."""
    return dict(re.findall(rf"^\| `?({first})`? \| `?(.*?)`? ?\|", TEXT, re.MULTILINE))


def test_it_lists_the_options_with_their_defaults() -> None:
    actions = [action for action in build_parser()._actions if action.option_strings]
    defaults = {
        action.option_strings[-1]: str(action.default or "")
        for action in actions
        if not isinstance(action, argparse._HelpAction)
    }
    assert read_table("--[a-z-]+") == defaults


def test_it_lists_the_methods_of_both_clients() -> None:
    listed = {call.partition("(")[0] for call in read_table(r"[a-z_]+\(.*?\)")} | {"close"}
    for client in (EmotionClient, AsyncEmotionClient):
        assert {name for name in vars(client) if not name.startswith("_")} == listed


def test_it_tells_the_exit_statuses() -> None:
    assert list(read_table(r"\d+")) == ["0", "1", "2", "130"]


def test_it_tells_the_endings_and_the_keys_variable() -> None:
    assert all(f"`{ending}`" in TEXT for ending in ENDINGS)
    assert f"`{KEY}`" in TEXT


def test_it_goes_with_the_package() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert project["readme"] == "README.md"
