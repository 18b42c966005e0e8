"""The page for people at `/`: plain files, no foreign server."""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

FOLDER: Final = Path(__file__).parents[1] / "page"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: it can load from and talk to this service alone."""

FRESH: Final = {"Cache-Control": "no-cache"}
"""Lets a browser keep a file, but ask each time whether it is still the newest."""


PAGE: Final = (FOLDER / "index.html").read_bytes()


async def show_home(_: Request) -> Response:
    """The page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY, **FRESH})


class WholeFiles(StaticFiles):
    """Small files, whole: Starlette answers a wrong range in a shape of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the file."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 where the browser has it."""
        response = await super().get_response(path, scope)
        response.headers.update(FRESH | {"Accept-Ranges": "none"})
        return response


HOME_ROUTES: Final = (Route("/", show_home), Mount("/page", WholeFiles(directory=FOLDER)))
