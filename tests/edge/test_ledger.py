"""Tests of edge/ledger.py: what is written is found again, and never less of it."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from channel import Known
from edge.ledger import (
    EMPTY,
    STATE_FILE,
    Ledger,
    LedgerError,
    LedgerReader,
    find_folder,
    is_among,
    read_host,
    read_known,
)

WINDOW, OTHER = "00000000000000aa", "00000000000000bb"
KNOWN = Known(3, "3:run:1-2", "1800000000.25", ("host-a", "host-b"))
HUGE = (1 << 64) - 1


def test_members_are_found_again(tmp_path: Path) -> None:
    """A later ledger has the members and up to when they were copied; members only grow."""
    ledger = Ledger(tmp_path)
    ledger.add(WINDOW, [5, HUGE, 5])
    ledger.add(OTHER, [])
    ledger.write(KNOWN, {WINDOW: 2})
    ledger.add(WINDOW, [0, 5])
    assert ledger.has_news
    ledger.write(KNOWN, {WINDOW: 3})
    assert not ledger.has_news
    later = Ledger(tmp_path)
    assert later.list_members(WINDOW).tolist() == [0, 5, HUGE]
    assert later.windows == [WINDOW, OTHER]
    assert later.known == KNOWN


def test_new_ledger_knows_nothing(tmp_path: Path) -> None:
    """A new host knows nothing, and nobody."""
    ledger = Ledger(tmp_path)
    assert (ledger.known, ledger.windows, ledger.list_members(WINDOW).tolist()) == (Known(), [], [])


def test_workers_map_what_is_new(tmp_path: Path) -> None:
    """A worker hears of a list once, each time that it is replaced."""
    reader = LedgerReader(tmp_path)
    assert not reader.has_changed()
    assert reader.map_members(WINDOW) is None
    ledger = Ledger(tmp_path)
    ledger.add(WINDOW, [7])
    ledger.write(KNOWN, {WINDOW: 1})
    assert reader.has_changed()
    assert not reader.has_changed()
    members = reader.map_members(WINDOW)
    assert members is not None
    assert members.tolist() == [7]
    assert reader.map_members(WINDOW) is None
    ledger.add(WINDOW, [3])
    ledger.write(KNOWN, {WINDOW: 2})
    assert reader.has_changed()
    again = reader.map_members(WINDOW)
    assert again is not None
    assert (again.tolist(), members.tolist()) == ([3, 7], [7])


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"gwwindow" + bytes(16) + bytes(8)])
def test_damaged_lists_are_none(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Damage costs this host its copy of one list and is told; nothing of it is believed."""
    ledger = Ledger(tmp_path)
    ledger.add(WINDOW, [7])
    ledger.add(OTHER, [8])
    ledger.write(KNOWN, {})
    (tmp_path / f"{WINDOW}.members").write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        later = Ledger(tmp_path)
    assert "is damaged" in caplog.text
    assert later.list_members(WINDOW).tolist() == []
    assert later.list_members(OTHER).tolist() == [8]


def test_workers_leave_damage_alone(tmp_path: Path) -> None:
    """A worker keeps the list that it has where the new one is none."""
    reader = LedgerReader(tmp_path)
    for damage in (b"", b"rubbish", b"nowindow" + bytes(24)):
        (tmp_path / f"{WINDOW}.members").write_bytes(damage)
        assert reader.map_members(WINDOW) is None
    (tmp_path / STATE_FILE).write_text("[")
    assert not reader.has_changed()


def test_damaged_state_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without its state a host is as good as new, and its members stay."""
    (tmp_path / STATE_FILE).write_text(json.dumps({"generation": "many"}))
    assert read_known(tmp_path) == Known()
    assert "cannot be read, and is begun anew" in caplog.text


def test_disk_that_takes_nothing(tmp_path: Path) -> None:
    """What cannot be written is an error, is tried again, and what lay there lies there."""
    ledger = Ledger(tmp_path / "here")
    ledger.add(WINDOW, [7])
    ledger.write(KNOWN, {})
    ledger.add(WINDOW, [8])
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(LedgerError, match="cannot be written"):
        ledger.write(KNOWN, {})
    assert Ledger(tmp_path / "there").list_members(WINDOW).tolist() == [7]
    (tmp_path / "there").rename(tmp_path / "here")
    ledger.write(KNOWN, {})
    assert Ledger(tmp_path / "here").list_members(WINDOW).tolist() == [7, 8]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A data folder that is no folder is an error that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="file/windows/demo cannot be used"):
        Ledger(find_folder(tmp_path / "file", "demo"))
    with pytest.raises(LedgerError, match="file/windows/host cannot be used"):
        read_host(tmp_path / "file")


def test_host_keeps_its_name(tmp_path: Path) -> None:
    """A host has one name for ever, whoever of its processes asks first; another folder is another host."""
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(read_host(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 1
    assert read_host(tmp_path) == names[0]
    assert read_host(tmp_path / "other") != names[0]
    assert os.listdir(tmp_path / "windows") == ["host"]  # noqa: PTH208 - what else lies there would be left over


def test_among() -> None:
    """Members are found at both ends and between, others nowhere."""
    members = memoryview(bytes(8) + (9).to_bytes(8, "little") + bytes([255] * 8)).cast("Q")
    assert [is_among(members, one) for one in (0, 1, 9, HUGE - 1, HUGE)] == [True, False, True, False, True]
    assert not is_among(EMPTY, 0)
