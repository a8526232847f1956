"""The Lua scripts are part of the package."""

import pytest

from channel.script import read_script


@pytest.mark.parametrize("name", ["admit.lua", "beat.lua", "copy.lua", "giveback.lua", "gone.lua", "publish.lua"])
def test_scripts_are_there(name: str) -> None:
    """Each script says what it does before it does it."""
    assert read_script(name).startswith("-- ")
