import pytest

from search.report.literature import ALL_KINDS, CNN_ONLY, rank


@pytest.mark.parametrize("published", [ALL_KINDS, CNN_ONLY])
def test_rows_stand_in_the_papers_order(published: tuple[tuple[str, str, float], ...]) -> None:
    accuracies = [row[2] for row in published]
    assert accuracies == sorted(accuracies, reverse=True)
    assert 72.16 in accuracies


def test_the_own_row_stands_by_its_accuracy() -> None:
    kinds, single = rank(0.7018, "test", {"parameters": 930_000})
    for table, above in ((kinds, "Tang"), (single, "CNN alone in Connie et al.")):
        models = [row[0] for row in table.rows]
        place = models.index("this model (0.93 M parameters)")
        assert table.own == place
        assert models[place - 1] == above
        assert list(table.rows[place][2:]) == ["70.18", "test"]
        assert "hint" not in table.caption


def test_a_figure_of_another_split_is_no_rank() -> None:
    for table in rank(0.69, "validation", {"parameters": 930_000}):
        (own,) = (row for row in table.rows if row[3] == "validation")
        assert own[2] == "69.00"
        assert "no rank" in table.caption


def test_the_own_rows_kind_is_what_the_card_tells() -> None:
    cards: tuple[dict[str, object], ...] = (
        {},
        {"teachers": ["a"]},
        {"search": {"study": "s"}, "teachers": ["a"]},
    )
    found = [rank(0.7, "test", {"parameters": 1, **card})[0] for card in cards]
    kinds = [table.rows[table.own or 0][1] for table in found]
    assert kinds == ["CNN", "CNN, distilled", "CNN, searched, distilled"]
