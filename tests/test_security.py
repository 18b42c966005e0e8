import re

from tests.live import ROOT


def test_every_test_that_a_promise_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    files = (ROOT / "tests").glob("test_*.py")
    known = {
        name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    assert len(named) > 30
    assert named - known == set()


def test_every_promise_names_a_test() -> None:
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line[:2] == "| "]
    promises = [row for row in rows if not row.startswith("| threat")]
    assert len(promises) > 10
    assert [row for row in promises if "`test_" not in row.split(" | ")[-1]] == []
