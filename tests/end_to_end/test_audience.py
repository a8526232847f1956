"""Audiences from the command line to devices of several hosts, and through everything that may be away or broken."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.keys import make_fingerprint_key
from tests.end_to_end.town import ASKED, PROGRAM, TOKEN, Host, Town, ask, eventually, run_graywave

VERSION = "1.0.0.0"


class Quarter(NamedTuple):
    """A town with two hosts: one has the store's folder, the other fetches from it over HTTP."""

    town: Town
    hosts: tuple[Host, Host]
    store: Path

    def change(self, verb: str, name: str, *users: str, patterns: tuple[str, ...] = ()) -> None:
        """Runs `graywave audience`."""
        ids = self.town.folder / "ids.txt"
        ids.write_text("".join(f"{user}\n" for user in users))
        given = [word for pattern in patterns for word in ("--pattern", pattern)]
        self.run("audience", verb, name, *([ids] if users else []), *given, *self.name_key(), "--store", self.store)

    def name_key(self) -> tuple[str, str]:
        return ("--key", f"k1={self.town.fingerprint_key}")

    def run(self, *words: object) -> str:
        """Runs a command with this town's publisher, to a good end."""
        token = self.town.folder / "token"
        token.write_text(TOKEN)
        done = run_graywave(*words, "--publisher", f"http://{self.town.address}", "--token-file", token)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read_revision(self) -> Any:
        """The revision of the program's document."""
        listed = ask(self.town.address, "GET", "/v1/documents", Authorization=f"Bearer {TOKEN}")[1]["documents"]
        return next(one["revision"] for one in listed if one["id"] == PROGRAM)


def is_covered(host: Host, user: str) -> bool | None:
    """Says whether a user's device is told of the release by every worker; None where they differ."""
    told = {bool(host.check(user=user)["updates"]) for _ in range(ASKED)}
    return told.pop() if len(told) == 1 else None


def await_users(host: Host, covered: list[str], others: list[str]) -> None:
    """Waits until exactly these users are told of the release."""
    eventually(host.is_ready)
    eventually(lambda: all(is_covered(host, user) is True for user in covered))
    eventually(lambda: all(is_covered(host, user) is False for user in others))


def read_audience(host: Host, name: str = "qa") -> Any:
    return host.read_status()["workspaces"]["demo"]["audiences"].get(name)


@pytest.fixture(scope="module")
def quarter(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quarter]:
    """Two hosts with two workers each, and a release for the audiences `qa` and `vip`."""
    store = tmp_path_factory.mktemp("store")
    with (
        town.start_host(tmp_path_factory.mktemp("near"), STORE=store) as near,
        town.start_host(tmp_path_factory.mktemp("far"), FILES=f"http://{near.devices}") as far,
    ):
        quarter = Quarter(town, (near, far), store)
        quarter.change("put", "qa", "u-1", "u-2")
        quarter.change("put", "vip", patterns=("vip-*",))
        town.publish(VERSION, who={"audiences": ["qa", "vip"]})
        yield quarter


def test_a_list_reaches_the_devices_of_all_hosts(quarter: Quarter) -> None:
    """From the store's folder and over HTTP: those on any of the release's lists, and nobody without an id."""
    quarter.change("put", "qa", "u-1", "u-2")
    for host in quarter.hosts:
        await_users(host, ["u-1", "u-2", "vip-7"], ["u-3", "U-1", "VIP-7", ""])
        assert read_audience(host) | {"revision": 0} == {
            "epoch": 1, "revision": 0, "users": 2, "patterns": 0, "removed": False, "problem": "",
        }  # fmt: skip


def test_a_list_is_replaced_without_any_program(quarter: Quarter) -> None:
    """Whole, added to, and taken from; the program's document stays at its revision all the while."""
    before = quarter.read_revision()
    quarter.change("put", "qa", "u-3")
    for host in quarter.hosts:
        await_users(host, ["u-3"], ["u-1", "u-2"])
    quarter.change("add", "qa", "u-4", patterns=("test-*",))
    for host in quarter.hosts:
        await_users(host, ["u-3", "u-4", "test-1"], ["u-1"])
    quarter.change("remove", "qa", "u-3", patterns=("test-*",))
    for host in quarter.hosts:
        await_users(host, ["u-4"], ["u-3", "test-1"])
    assert quarter.read_revision() == before
    program = quarter.hosts[0].read_status()["workspaces"]["demo"]
    assert program["refused"] == program["waiting"] == []


def test_a_host_without_the_key_lets_nobody_in(quarter: Quarter, tmp_path: Path) -> None:
    """Nor does one with another key of that name; both say so, in the status and as a metric of each worker."""
    quarter.change("put", "qa", "u-1")
    other = tmp_path / "other.key"
    make_fingerprint_key(other)
    for keys, problem in (
        ("", "fingerprint key 'k1' is not in this edge's settings"),
        (f"k1={other}", "another key made its file than the one that this edge knows as 'k1'"),
    ):
        with quarter.town.start_host(
            tmp_path / f"data-{len(keys)}", STORE=quarter.store, FINGERPRINT_KEYS=keys
        ) as host:
            await_users(host, ["vip-1"], ["u-1"])
            eventually(lambda host=host, problem=problem: read_audience(host)["problem"] == problem)
            workers = eventually(lambda host=host: is_alarmed(host) and host.read_status()["workers"])
            assert [worker["broken_audiences"] for worker in workers] == [1, 1]


def is_alarmed(host: Host) -> bool:
    return all(worker["broken_audiences"] for worker in host.read_status()["workers"])


def test_a_list_whose_file_is_not_to_be_had_waits(quarter: Quarter, tmp_path: Path) -> None:
    """The one before it counts meanwhile, programs go on, and the reason is told; with the file there it is taken."""
    quarter.change("put", "qa", "u-1")
    (near, _), data = quarter.hosts, tmp_path / "data"
    with quarter.town.start_host(data, FILES=f"http://{near.devices}") as host:
        await_users(host, ["u-1"], ["u-2"])
    with quarter.town.start_host(data, FILES="http://127.0.0.1:1") as host:
        quarter.change("put", "qa", "u-2")
        (waiting,) = eventually(lambda: read_waiting(host))
        assert (waiting["kind"], waiting["id"]) == ("audience", "qa")
        assert waiting["reason"].startswith("waiting for its file: http://127.0.0.1:1/v1/files/")
        quarter.town.publish("1.0.1.0", who={"audiences": ["qa", "vip"]})
        eventually(lambda: [one["version"] for one in host.check(user="u-1")["updates"]] == ["1.0.1.0"])
        await_users(host, ["u-1"], ["u-2"])
    with quarter.town.start_host(data, FILES=f"http://{near.devices}") as host:
        await_users(host, ["u-2"], ["u-1"])
        assert read_waiting(host) == []


def read_waiting(host: Host) -> Any:
    """What waits for its file, once the reason is known."""
    waiting = host.read_status()["workspaces"]["demo"]["waiting"]
    return [one for one in waiting if "is being brought" not in one["reason"]]


@pytest.fixture(scope="module")
def kept(quarter: Quarter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a host that has a list of 199 users, and was stopped."""
    quarter.change("put", "qa", *(f"u-{number}" for number in range(1, 200)))
    data = tmp_path_factory.mktemp("kept") / "data"
    with quarter.town.start_host(data, STORE=quarter.store) as host:
        await_users(host, ["u-1"], ["x"])
        host.end()
    return data


def test_a_host_starts_without_redis_and_store(quarter: Quarter, kept: Path, tmp_path: Path) -> None:
    """From its data folder alone it answers as before."""
    data = shutil.copytree(kept, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    with quarter.town.start_host(data, REDIS=f"unix://{tmp_path}/nowhere.sock") as host:
        await_users(host, ["u-1", "u-199"], ["x"])
        assert read_audience(host)["problem"] == ""


def test_a_damaged_file_is_brought_anew(quarter: Quarter, kept: Path, tmp_path: Path) -> None:
    """It is noticed at the next start; until it is there again nobody of the list gets in."""
    data, store = shutil.copytree(kept, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock")), tmp_path / "store"
    (file,) = (data / "audiences").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-800] + bytes(800))
    with quarter.town.start_host(data, STORE=store) as host:
        await_users(host, ["vip-1"], ["u-1"])
        eventually(lambda: read_audience(host)["problem"] == "its file cannot be used: No such file or directory")
        (store / file.name[:2]).mkdir(parents=True)
        (store / file.name[:2] / file.name).write_bytes(content)
        await_users(host, ["u-1"], ["x"])
        eventually(lambda: not any(worker["broken_audiences"] for worker in host.read_status()["workers"]))
        eventually(lambda: read_audience(host)["problem"] == "")


def test_what_nothing_needs_leaves_the_store(quarter: Quarter) -> None:
    """A list that was replaced is listed first, and goes when it is told to; the one that counts stays."""
    quarter.change("put", "qa", "u-old")
    (old,) = [read_sha256(quarter)]
    quarter.change("put", "qa", "u-1")
    there = list(quarter.store.glob("*/*"))
    for path in there:
        os.utime(path, (time.time() - 99 * 86_400,) * 2)
    listed = json.loads(quarter.run("gc", "--store", quarter.store, "--json"))
    assert old in [one["sha256"] for one in listed["unneeded"]]
    assert read_sha256(quarter) not in [one["sha256"] for one in listed["unneeded"]]
    assert set(quarter.store.glob("*/*")) == set(there)
    quarter.run("gc", "--store", quarter.store, "--delete")
    left = [path.name for path in quarter.store.glob("*/*")]
    assert (old in left, read_sha256(quarter) in left) == (False, True)
    for host in quarter.hosts:
        await_users(host, ["u-1"], ["u-old"])


def read_sha256(quarter: Quarter) -> str:
    return str(json.loads(quarter.run("audience", "show", "qa", "--json"))["sha256"])


def test_a_list_is_dropped(quarter: Quarter) -> None:
    """Once no release names it: it is gone from every host, and comes back as another."""
    quarter.change("put", "qa", "u-1")
    quarter.town.publish(VERSION, who={"audiences": ["vip"]})
    quarter.run("audience", "drop", "qa")
    for host in quarter.hosts:
        eventually(lambda host=host: read_audience(host)["removed"])
        await_users(host, ["vip-1"], ["u-1"])
    quarter.change("put", "qa", "u-2")
    quarter.town.publish(VERSION, who={"audiences": ["qa", "vip"]})
    for host in quarter.hosts:
        await_users(host, ["u-2"], ["u-1"])
