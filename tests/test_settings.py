import re
from pathlib import Path

import pytest

from service.log import LOG
from service.settings import PREFIX, Settings, SettingsError
from tests.live import ROOT

COMPUTED = {"EMOTION_WORKERS": "cores, at most 8", "EMOTION_THREADS": "cores / workers"}
"""Defaults that depend on the machine, in the README's words."""


def read_table() -> dict[str, str]:
    """The defaults in the README's table of settings."""
    row = rf"^\| `({PREFIX}\w+)` \| (.*?) \|"
    return dict(re.findall(row, (ROOT / "README.md").read_text(), re.MULTILINE))


def test_the_readme_lists_every_setting_and_no_other() -> None:
    assert set(read_table()) == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize(("name", "default"), read_table().items())
def test_the_readme_names_the_defaults(name: str, default: str) -> None:
    field = name.removeprefix(PREFIX).lower()
    if Settings.model_fields[field].default_factory or name in COMPUTED:
        assert default == COMPUTED[name]
        return
    actual = getattr(Settings(), field)
    if not default:
        assert actual in ((), None)
    else:
        stated = Settings.from_environment({name: default.strip("`")})
        assert getattr(stated, field) == actual


def test_what_is_deployed_sets_known_settings() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    files += [ROOT / "Dockerfile", ROOT / "bentofile.yaml", ROOT / "docs" / "tutorial.md"]
    names = {name for file in files for name in re.findall(rf"{PREFIX}\w+", file.read_text())}
    assert len(names) > 5
    assert names - set(read_table()) == set()


def test_variables_set_fields() -> None:
    settings = Settings.from_environment({"EMOTION_WORKERS": "3", "EMOTION_MAX_WAIT_MS": "1.5"})
    assert (settings.workers, settings.max_wait_ms) == (3, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMOTION_WORKERS", "0"),
        ("EMOTION_MAX_QUEUE", "many"),
        ("EMOTION_WORKER", "2"),
        ("EMOTION_MAX_QUEUE", "255"),
        ("EMOTION_MAX_ITEMS", "2000"),
        ("EMOTION_MAX_REQUEST_PIXELS", "1000"),
        ("EMOTION_BODY_SECONDS", "0"),
        ("EMOTION_BODY_SECONDS", "inf"),
        ("EMOTION_GRACE_SECONDS", "1"),
        ("EMOTION_API_KEYS", "short"),
        ("EMOTION_API_KEYS", ""),
        ("EMOTION_API_KEYS", " , "),
        ("EMOTION_API_KEYS", "a-key-of-some-léngth"),
        ("EMOTION_API_KEYS", "a-key-of-some\x7flength"),
        ("EMOTION_ADMIN_KEY", "a key with blanks in it"),
        ("EMOTION_API_KEYS_FILE", ""),
        ("EMOTION_API_KEYS_FILE", "/nowhere"),
        ("EMOTION_CORS_ORIGINS", "*"),
        ("EMOTION_RATE_LIMIT", "5"),
    ],
)
def test_mistakes_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_a_wrong_origin_is_told_how_one_looks() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"EMOTION_CORS_ORIGINS": "https://a.example b.example"})
    assert str(caught.value) == (
        "EMOTION_CORS_ORIGINS: b.example is none; "
        "an origin is like https://app.example, without a path"
    )


@pytest.mark.parametrize("name", ["EMOTION_WORKER", "EMOTION_SERVICE_HOST", "EMOTION_"])
def test_an_unknown_variable_is_called_so(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: "1"})
    assert str(caught.value) == f"{name}: no such setting; the README lists them"


def test_the_clients_key_is_ignored_and_told_where_the_server_has_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = {"EMOTION_API_KEY": "a-key-of-some-length"}
    with caplog.at_level("WARNING", LOG.name):
        guarded = {"EMOTION_API_KEYS": "another-key-of-some-length"}
        assert len(Settings.from_environment(client | guarded).api_keys) == 1
        assert not caplog.messages
        assert Settings.from_environment(client) == Settings()
    (told,) = caplog.messages
    assert "EMOTION_API_KEYS" in told
    assert "a-key-of" not in told


def test_keys_come_from_variable_and_file_and_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("second-key-of-some-length\nthird-key-of-some-length\n")
    variables = {"EMOTION_API_KEYS": "first-key-of-some-length", "EMOTION_API_KEYS_FILE": str(file)}
    settings = Settings.from_environment(variables)
    assert [key.get_secret_value().split("-")[0] for key in settings.api_keys] == [
        "first",
        "second",
        "third",
    ]
    assert "of-some-length" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"EMOTION_API_KEYS": "secret-but-short"[:12]})
    assert "secret" not in str(caught.value)
