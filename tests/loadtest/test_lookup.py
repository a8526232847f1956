"""Looking up among many lists: every answer is right, and a wrong one is no figure."""

import json
from pathlib import Path

import pytest

from loadtest.lookup import build_list, draw_looks, main, measure_lookups, time_looks
from ruleset import Fingerprints, parse_audience


def test_a_list_is_written_as_its_document_says(tmp_path: Path) -> None:
    """A file under its digest, well formed, of as many users."""
    document = parse_audience(build_list(tmp_path, 50, 3))
    held = Fingerprints((tmp_path / document.sha256).read_bytes())
    held.check()
    assert (held.count, document.count, document.audience) == (50, 50, "list-3")


def test_members_and_strangers_are_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all lists; both get a figure, and the lists are there."""
    main([str(tmp_path), "3", "40", "300"])
    figures = json.loads(capsys.readouterr().out)["lookup_us"]
    assert figures.keys() == {"member", "stranger"}
    assert min(figures.values()) > 0
    assert len(list((tmp_path / "audiences").iterdir())) == 3


def test_looks_go_over_all_lists() -> None:
    """A member is asked of the list that has it, a stranger of any."""
    lists = [lambda user, place=place: user == place for place in range(4)]
    for is_member in (True, False):
        looks = draw_looks(lists, 10, 300, is_member=is_member)
        assert {holds for holds, _ in looks} == set(lists)
        numbers = [int(user.removeprefix("user-")) for _, user in looks]
        assert [number >= 40 for number in numbers] == [not is_member] * 300
        if is_member:
            assert all(lists[number // 10] is holds for (holds, _), number in zip(looks, numbers, strict=True))


def test_a_wrong_answer_is_no_figure() -> None:
    """A look-up that says anything is quick and worth nothing."""
    with pytest.raises(ValueError, match="expected True of every look-up, got 2 others of 3"):
        time_looks([(lambda _: False, "a"), (lambda _: True, "b"), (lambda _: False, "c")], is_member=True)


def test_lists_are_not_made_twice(tmp_path: Path) -> None:
    """A folder with lists of another run is not measured."""
    (tmp_path / "audiences").mkdir()
    with pytest.raises(FileExistsError):
        measure_lookups(tmp_path, 1, 1, 1)
