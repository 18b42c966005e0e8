"""Every code that the service answers with is documented."""

import re

from service.errors import REFUSALS
from tests.live import ROOT

RAISED = re.compile(r"""RequestError\(\s*(?:\d+|status), "(\w+)",""")
STARLETTES = {"not_found", "method_not_allowed"}
"""Made of the texts of its own errors (service/routes/refusals.py)."""


def test_the_documented_codes_are_those_of_the_service() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "service").rglob("*.py"))
    documented = {code for refusal in REFUSALS.values() for code in refusal.codes}
    assert set(RAISED.findall(sources)) | STARLETTES == documented


def test_the_readme_names_every_status_with_its_codes() -> None:
    table = re.findall(
        r"^\| ((?:[45]\d\d(?:, )?)+) \| .+ \| (.*) \|$", (ROOT / "README.md").read_text(), re.M
    )
    named = [(int(word), codes) for words, codes in table for word in words.split(", ")]
    assert {status for status, _ in named} - {499} == set(REFUSALS)
    for status, codes in named:
        wanted = REFUSALS[status].codes if status != 499 else ()
        assert set(wanted) <= set(re.findall(r"`(\w+)`", codes))
