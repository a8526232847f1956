"""The data folder: where its parts are, and where its servers listen."""

from pathlib import Path

import pytest

from cli.exit import CommandError, Exit
from cli.home import Home


def test_places(tmp_path: Path) -> None:
    """Each part has a place of its own in the folder."""
    home = Home(tmp_path)
    places = [home.keys, home.store, home.publisher, home.edge, home.redis, home.token, home.client, home.addresses]
    assert len(set(places)) == 8
    assert {place.parent for place in places} == {tmp_path}


def test_an_address(tmp_path: Path) -> None:
    """An address is read from what `graywave up` wrote."""
    Home(tmp_path).addresses.write_text('{"edge": "http://127.0.0.1:8080"}')
    assert Home(tmp_path).read_address("edge") == "http://127.0.0.1:8080"


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"publisher": ""}', "\udcff"])
def test_nothing_runs(tmp_path: Path, text: str | None) -> None:
    """A file that is absent, broken or lacks the server means that nothing runs."""
    if text is not None:
        Home(tmp_path).addresses.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(CommandError) as caught:
        Home(tmp_path).read_address("edge")
    assert caught.value.message == f"nothing runs in {tmp_path}: start scripts/run, or name the address yourself"
    assert caught.value.exit_code == Exit.UNREACHABLE
