"""A self-contained HTML page of pictures and tables; each picture also lies beside it as PNG."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; background: white; border-radius: 6px; }
figure { margin: 1rem 0; } figcaption { opacity: .75; }
/* Shadows at the edges behind which a wide table goes on; covers that move with it hide them. */
table { border-collapse: collapse; display: block; overflow-x: auto;
  width: fit-content; max-width: 100%;
  background: linear-gradient(to right, Canvas 50%, transparent) left / 2rem 100% no-repeat local,
    linear-gradient(to left, Canvas 50%, transparent) right / 2rem 100% no-repeat local,
    linear-gradient(to right, #888, transparent) left / .8rem 100% no-repeat scroll,
    linear-gradient(to left, #888, transparent) right / .8rem 100% no-repeat scroll; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
tr.own { font-weight: bold; background: #fc83; }
"""


@dataclass(frozen=True)
class Picture:
    """A figure with its words.

    Attributes:
        name: file name without `.png`; unique on a page.
        title: heading above it.
        caption: what it shows and what to look for.
        figure: drawn with matplotlib's object interface, no global state.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading; the first column is aligned left; without rows, words only.

    Attributes:
        title: heading above it.
        header: names of the columns.
        rows: cells.
        caption: words between heading and table.
        own: the row to be seen at once, None for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    own: int | None = None


def write_page(path: Path, title: str, parts: Sequence[Picture | Table]) -> None:
    """Write the page to `path` and its pictures as PNG files into the same folder.

    Args:
        path: the HTML file; its folder is made if missing.
        title: the page's heading.
        parts: pictures and tables, in order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(
        _picture(part, path.parent) if isinstance(part, Picture) else _table(part) for part in parts
    )
    heading = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style><h1>{heading}</h1>{body}</html>\n"
    )
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _picture(picture: Picture, folder: Path) -> str:
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    (folder / f"{picture.name}.png").write_bytes(buffer.getvalue())
    source = base64.b64encode(buffer.getvalue()).decode()
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    return (
        f'<h2>{title}</h2><figure><img alt="{title}" src="data:image/png;base64,{source}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        ('<tr class="own">' if place == table.own else "<tr>")
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for place, row in enumerate(table.rows)
    )
    caption = f"<p>{html.escape(table.caption)}</p>" if table.caption else ""
    body = f"<table><tr>{header}</tr>{rows}</table>" if rows else ""
    return f"<h2>{html.escape(table.title)}</h2>{caption}{body}"
