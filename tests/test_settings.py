from pathlib import Path

import pytest

from service.settings import Settings, SettingsError


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
        ("EMOTION_API_KEYS_FILE", "/nowhere"),
        ("EMOTION_CORS_ORIGINS", "*"),
    ],
)
def test_mistakes_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


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
