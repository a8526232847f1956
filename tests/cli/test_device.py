"""A device on a command line: its facts, and what is none."""

import pytest

from cli.device import read_device
from cli.exit import CommandError, Exit
from container import Device


def test_facts_make_a_device() -> None:
    """Facts replace what is there without them; a tag's name and any value may hold anything."""
    assert read_device("d", ()) == Device("d", "android")
    facts = ("id=d-1", "os=14", "platform=ios", "model=", "tags.vip=a=b", "os=15")
    assert read_device("d", facts) == Device("d-1", "ios", os="15", tags={"vip": "a=b"})


@pytest.mark.parametrize("fact", ["os", "=14", ""])
def test_what_is_no_fact(fact: str) -> None:
    """A fact is NAME=VALUE."""
    with pytest.raises(CommandError, match=r"^expected --device NAME=VALUE, got ") as caught:
        read_device("d", (fact,))
    assert caught.value.message.endswith(repr(fact))
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("name", ["colour", "tags"])
def test_a_fact_that_there_is_none(name: str) -> None:
    """The facts that there are, are named, for a typing error would change the answer."""
    with pytest.raises(
        CommandError, match=r"^expected --device with one of id, platform, user, os, .*, tags"
    ) as caught:
        read_device("d", (f"{name}=red",))
    assert caught.value.message.endswith(f", tags.<name>, got {name!r}")
    assert caught.value.exit_code == Exit.USAGE
