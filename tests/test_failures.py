"""The slices, sorting and counts of a hunt: pure functions of its lines."""

from __future__ import annotations

from explorer.analysis.failures.slices import (
    BOTH,
    HELD,
    LEFT,
    OTHERS,
    RIGHT,
    WRONG,
    Example,
    Filter,
    Found,
    Side,
    as_csv,
    chosen,
    confusion,
    counts,
    named_answers,
)

CAPTIONS = ("a cat", "a dog", "=the sea")


def side(was: int, now: int, margin: float = 0.0) -> Side:
    return Side(was, now, 0.9, 0.8, 0.1, margin, 0.2, 1.0, 1, 0, 0, 0.1)


def case(place: int, label: int, left: tuple[int, int], right: tuple[int, int],
         margin: float = 0.0) -> Example:
    return Example(place, f"{place}.png", label, (side(*left, margin), side(*right, margin)))


CASES = (case(0, 0, (0, 1), (0, 0), 0.3), case(1, 0, (0, 1), (0, 2), 0.1),
         case(2, 1, (1, 1), (1, 0), 0.2), case(3, 1, (0, 0), (1, 1)), case(4, 2, (2, 2), (2, 2)))


def test_each_picture_is_in_one_slice() -> None:
    assert [c.slice for c in CASES] == [LEFT, BOTH, RIGHT, WRONG, HELD]
    found = counts(CASES)
    assert found.pop("all") == 5 and set(found.values()) == {1}


def test_filters_and_sorting() -> None:
    assert [c.place for c in chosen(CASES, Filter(label=1))] == [2, 3]
    by_margin = chosen(CASES, Filter(sort="margin", descending=True))
    assert [c.place for c in by_margin] == [0, 2, 1, 4, 3]


def test_a_cell_of_the_matrix_leads_to_as_many_pictures_as_it_counts() -> None:
    for axes in ("models", "left", "right"):
        named = named_answers(CASES, axes, 2)
        matrix = confusion(CASES, axes, named)
        assert sum(map(sum, matrix)) == len(CASES)
        answers = [*named, OTHERS]
        for r, row in enumerate(answers):
            for c, column in enumerate(answers):
                view = Filter(axes=axes, cell=(row, column))
                assert len(chosen(CASES, view, named)) == matrix[r][c]


def test_the_table_holds_no_formula() -> None:
    text = as_csv(Found("set", CAPTIONS, CASES), CASES, ("one", "two"))
    assert len(text.splitlines()) == 6
    assert ",=the" not in text and "'=the sea" in text
