"""The bill of materials fits its schema and names all that is shipped."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from service.version import VERSION
from tests.test_bentofile import read_pins

ROOT = Path(__file__).parents[1]


def test_it_is_valid_complete_and_the_same_each_time(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        path = tmp_path / name
        command = ["make", "sbom", f"BIN={Path(sys.executable).parent}", f"SBOM={path}"]
        command += ["-o", ".venv/develop.stamp"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    assert not (ROOT / "dist" / "pyproject.toml").exists()
    bill = json.loads(texts[0])
    version = SchemaVersion[f"V{bill['specVersion'].replace('.', '_')}"]
    assert JsonStrictValidator(version).validate_str(texts[0]) is None
    assert bill["metadata"]["component"]["version"] == VERSION
    packages = [part for part in bill["components"] if part["type"] == "library"]
    (model,) = (part for part in bill["components"] if part not in packages)
    named = {canonicalize_name(part["name"]): part["version"] for part in packages}
    assert named == read_pins("requirements.txt")
    assert all(part["externalReferences"][0]["hashes"] for part in packages)
    # The metadata of a few packages names none.
    unknown = [part["name"] for part in packages if "licenses" not in part]
    assert len(unknown) < 0.05 * len(named), unknown
    weights = (ROOT / "models" / model["name"] / "weights.safetensors").read_bytes()
    assert model["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(weights).hexdigest()}]
    (licence,) = model["licenses"]
    # Of the image, which holds both.
    label = f'licenses="Apache-2.0 AND {licence["expression"]}"'
    assert label in (ROOT / "Dockerfile").read_text()
    assert label in (ROOT / "deploy" / "search.Dockerfile").read_text()
