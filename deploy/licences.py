"""Add to a bill of materials what the packages' lock does not tell: their licences, and the model.

python deploy/licences.py BILL ENVIRONMENT MODEL
  BILL, ENVIRONMENT: CycloneDX in JSON, of the lock (changed in place), and of an environment that
    holds it
  MODEL: folder of the network that is shipped
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version


def add_licences(bill: dict[str, Any], environment: dict[str, Any]) -> None:
    """Copy the licences of equal packages; those that the environment lacks stay without."""
    parts = environment["components"]
    licences = {_key(part): part["licenses"] for part in parts if "licenses" in part}
    for part in bill["components"]:
        if found := licences.get(_key(part)):
            part["licenses"] = found


def add_model(bill: dict[str, Any], folder: Path) -> None:
    """Name the network, with the version that it gets in the store and the licence beside it."""
    content = (folder / "card.json").read_bytes()
    card = json.loads(content)
    (licence,) = (
        line.partition(": ")[2]
        for line in folder.with_name("LICENSE").read_text().splitlines()
        if line.startswith("SPDX-License-Identifier: ")
    )
    part = {
        "bom-ref": "model",
        "type": "machine-learning-model",
        "name": card["name"],
        "version": hashlib.sha256(content).hexdigest()[:12],
        "description": card["licence"],
        "hashes": [{"alg": "SHA-256", "content": card["weights_sha256"]}],
        "licenses": [{"expression": licence}],
    }
    bill["components"].append(part)
    bill["dependencies"].append({"ref": part["bom-ref"]})


def _key(part: dict[str, str]) -> tuple[str, str]:
    # A wheel of another index has a local label (+cpu), which the lock has not.
    return canonicalize_name(part["name"]), Version(part["version"]).public


def main(bill: Path, environment: Path, model: Path) -> None:
    """Change the bill in place."""
    content = json.loads(bill.read_text())
    add_licences(content, json.loads(environment.read_text()))
    add_model(content, model)
    bill.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
