"""The documented reverse proxy, with a certificate of its own, in front of a real server."""

import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.routes.home import FOLDER
from tests.live import ROOT, free_port, running, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx is not installed"
    ),
]


def write_config(folder: Path, service: str, port: int) -> Path:
    """The shipped configuration with this machine's paths and ports."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for shipped, here in (
        ("127.0.0.1:3000", service.removeprefix("http://")),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/nginx/tls", str(folder)),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    temporary = "".join(
        f"{kind}_temp_path {folder};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
    path = folder / "nginx.conf"
    path.write_text(f"{whole}http {{ access_log off; {temporary}\n{text}\n}}")
    return path


@pytest.fixture
def proxy(environment: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem"]
    subprocess.run(
        [*command.split(), *names, "-out", "certificate.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    port = free_port()
    with running({**environment, "EMOTION_WORKERS": "1"}) as (service, _):
        config = write_config(tmp_path, service, port)
        with (
            subprocess.Popen(["nginx", "-c", str(config), "-p", str(tmp_path)]) as process,
            httpx.Client(
                base_url=f"https://localhost:{port}",
                verify=ssl.create_default_context(cafile=str(tmp_path / "certificate.pem")),
                timeout=60,
            ) as client,
        ):
            try:
                wait_until(lambda: answers(client), 30)
                yield client
            finally:
                process.send_signal(signal.SIGQUIT)
                process.wait(20)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_face_is_answered_over_tls(proxy: httpx.Client) -> None:
    face = (ROOT / "examples" / "face.png").read_bytes()
    answer = proxy.post("/predict", files={"image": face})
    assert answer.json()["label"] == "happy"
    assert answer.headers["strict-transport-security"]
    assert len(answer.headers["x-request-id"]) == 32
    for path in ("/metrics", "/admin/reload"):
        assert proxy.get(path).status_code == 404
    large = proxy.post("/predict", content=bytes(33 * 2**20))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    assert large.headers["strict-transport-security"]
    answers = [proxy.get("/livez") for _ in range(200)]
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["strict-transport-security"]


def test_the_page_is_whole_however_often_it_is_opened(proxy: httpx.Client) -> None:
    files = [f"/page/{file.name}" for file in FOLDER.iterdir() if file.name != "index.html"]
    assert len(files) > 10
    for _ in range(8):
        assert {proxy.get(file).status_code for file in files} == {200}
    assert proxy.get("/").headers["strict-transport-security"]
