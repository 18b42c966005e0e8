"""Add to a bill of materials the licences that the installed packages name.

python deploy/licences.py BILL ENVIRONMENT
  both CycloneDX in JSON: of the lock (changed in place), and of an environment that holds it
"""

import json
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version


def add_licences(bill: Path, environment: Path) -> None:
    """Copy the licences of equal packages; those that the environment lacks stay without."""
    installed = json.loads(environment.read_text())["components"]
    licences = {_key(part): part["licenses"] for part in installed if "licenses" in part}
    content = json.loads(bill.read_text())
    for part in content["components"]:
        if found := licences.get(_key(part)):
            part["licenses"] = found
    bill.write_text(json.dumps(content, indent=2) + "\n")


def _key(part: dict[str, str]) -> tuple[str, str]:
    # A wheel of another index has a local label (+cpu), which the lock has not.
    return canonicalize_name(part["name"]), Version(part["version"]).public


if __name__ == "__main__":
    add_licences(*map(Path, sys.argv[1:]))
