"""A single setting: its words, and the types that no setting can have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from settings import describe
from settings.setting import list_settings


@dataclass(frozen=True)
class Bounded:
    """Settings with each form of bounds and of defaults."""

    most: int = field(default=1, metadata={"max": 3})
    names: tuple[str, ...] = ("a", "b")
    labels: Mapping[str, str] = field(default_factory=lambda: {"a": "b"})


def test_upper_bound_alone_is_worded() -> None:
    """A setting with a maximum alone says so, and holds it."""
    assert describe(Bounded)[0].type == "an integer of at most 3"
    with pytest.raises(ValueError, match="expected an integer of at most 3, got '4'"):
        list_settings(Bounded)[0].from_text("4")


def test_defaults_are_shown_as_they_would_be_set() -> None:
    """Lists and tables are shown in the form that a variable takes."""
    assert [row.default for row in describe(Bounded)] == ["1", "a, b", "a=b"]


@pytest.mark.parametrize("kind", [bytes, list[str], int | str, int | str | None, Mapping[str, float]])
def test_type_that_no_setting_can_have_is_refused(kind: Any) -> None:
    """A field of another type is the programmer's mistake, named at once."""

    @dataclass(frozen=True)
    class Broken:
        """A dataclass that no settings can be."""

        value: kind

    with pytest.raises(TypeError, match=r"Broken.value: expected a type that settings can have, got "):
        describe(Broken)
