"""The page for people at `/`: plain files, no foreign server."""

import os
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).parents[1] / "page"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: it can load from and talk to this service alone."""

FRESH: Final = {"Cache-Control": "no-cache"}
"""Lets a browser keep a file, but ask each time whether it is still the newest."""


async def show_home(_: Request) -> Response:
    """The page."""
    headers = {"Content-Security-Policy": POLICY, **FRESH}
    return FileResponse(FOLDER / "index.html", headers=headers)


class PageFiles(StaticFiles):
    """The page's files, of one version: modules of two would not fit together."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304 where the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(FRESH)
        return response


HOME_ROUTES: Final = (Route("/", show_home), Mount("/page", PageFiles(directory=FOLDER)))
