import json
import subprocess
import sys

from tests.live import ROOT

CODE = """
import logging
from service.log import NOISE, configure_log
configure_log("info")
for text in (*NOISE, "the event loop is late"):
    logging.getLogger("uvicorn.error").warning(text)
"""


def test_what_clients_do_wrong_is_no_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["message"] == "the event loop is late"
