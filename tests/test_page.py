from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from search.report.page import Picture, Table, write_page


def test_a_page_holds_its_pictures_and_escapes_its_words(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    path = tmp_path / "new" / "report.html"
    parts: list[Picture | Table] = [
        Picture("line", "A <line>", "rises", figure),
        Table("T", ["a"], [["<b>"]]),
    ]
    write_page(path, "Faces & co", parts)
    text = path.read_text()
    assert "A &lt;line&gt;" in text and "&lt;b&gt;" in text and "Faces &amp; co" in text
    assert 'src="data:image/png;base64,' in text and "http" not in text
    with Image.open(path.with_name("line.png")) as picture:
        assert picture.width > 200
