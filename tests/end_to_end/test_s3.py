"""A bucket behind a CDN, the whole way: released into, fetched from, cut off and gone on with, cleaned, examined.

The commands, the servers, the S3 server and the devices' `graywave update` are real processes; the CDN is the gate.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.bundle.bucket import REGION, Gate, Message, Server, make_error, run_moto
from tests.cli.running import Running
from tests.end_to_end.town import (
    PATIENCE_S,
    ROOT,
    ask,
    eventually,
    read_folder,
    read_phone,
    run_graywave,
    write_program,
)

SHOP, LATE = "2021000000000301", "2021000000000302"
PREFIX = "wallet/prod"
# Who gets the newer version already.
NEW = "u-new"
# Long before what `graywave gc` keeps for being young.
LONG_AGO = "2020-01-01T00:00:00.000Z"
LONG_AGO_IN_A_HEADER = "Wed, 01 Jan 2020 00:00:00 GMT"


def is_public(request: Message) -> bool:
    """Says whether a request is one to the CDN, as devices and the publisher send it."""
    return "authorization" not in request.headers


class Shop:
    """A Graywave whose packages lie in a bucket.

    Args:
        running: its servers.
        gate: before the S3 server, and the CDN.
        folder: for sources, packages, and phones.
    """

    def __init__(self, running: Running, gate: Gate, folder: Path) -> None:
        self.running, self.gate, self.folder = running, gate, folder
        self.bucket = gate.server.make_bucket()
        self.public = f"{gate.endpoint}/{self.bucket}/{PREFIX}"
        options = f"endpoint={gate.endpoint}&region={REGION}&public={gate.endpoint}/{self.bucket}"
        self.address = f"s3://{self.bucket}/{PREFIX}?{options}"
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.environ = {name: value for name, value in inherited.items() if not name.startswith("AWS_")} | {
            "AWS_ACCESS_KEY_ID": gate.server.access_key,
            "AWS_SECRET_ACCESS_KEY": gate.server.secret_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.files: dict[str, dict[str, bytes]] = {}

    def run(self, *words: object, code: int = 0) -> str:
        """Runs a command that should end with this code, and returns what it says; never its credentials."""
        done = run_graywave(*words, "--data", self.running.data, environ=self.environ)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert self.gate.server.secret_key not in said
        return done.stderr if code else done.stdout

    def pack(self, program: str, version: str) -> Path:
        """Packs a version of a program; returns where to."""
        source, out = self.folder / f"{program}-{version}", self.folder / f"packed-{program}-{version}"
        self.files[version] = write_program(source, version)
        self.run("pack", source, "--program", program, "--version", version, "--out", out)
        return out

    def ask_about(self, program: str, installed: str = "", user: str = "") -> Any:
        """What an edge answers to a check."""
        device = {"id": "d-1", "platform": "android", "user": user}
        question = {"workspace": "demo", "device": device, "programs": {program: installed}}
        return ask(self.running.edge, "POST", "/v1/check", question)[1]

    def update(self, phone: Path, user: str = "") -> Any:
        """Updates a phone; returns what became of it."""
        who = ("--device", f"user={user}") if user else ()
        (outcome,) = json.loads(self.run("update", SHOP, "--folder", phone, "--json", *who))
        return outcome

    def names(self) -> set[str]:
        """The keys of all that lies in the bucket, below the prefix."""
        listed = self.gate.server.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{PREFIX}/")["Contents"]
        return {item["Key"].removeprefix(f"{PREFIX}/") for item in listed}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server that checks signatures."""
    with run_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def whole_shop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A program in the bucket: 1.0.0 for everybody, and 1.1.0 for some, with a delta."""
    gate = Gate(server)
    environ = {"GRAYWAVE_EDGE_WORKERS": "1"}
    try:
        with Running(tmp_path_factory.mktemp("up"), ["--no-demo"], environ) as running:
            shop = Shop(running.wait_ready(), gate, tmp_path_factory.mktemp("shop"))
            for version, who in (("1.0.0", ()), ("1.1.0", ("--user", NEW))):
                shop.run("release", shop.pack(SHOP, version), "--store", shop.address, *who)
            eventually(
                lambda: [True for update in shop.ask_about(SHOP, "1.0.0", NEW)["updates"] if update["transfers"][1:]]
            )
            yield shop
    finally:
        gate.close()


@pytest.fixture
def fetched(whole_shop: Shop) -> list[Message]:
    """What the CDN is asked."""
    fetched: list[Message] = []
    whole_shop.gate.spoil_request = lambda request: fetched.append(request) if is_public(request) else None
    return fetched


@pytest.fixture
def shop(whole_shop: Shop, fetched: list[Message]) -> Iterator[Shop]:
    """The shop, with an honest network before and after the test."""
    del fetched
    yield whole_shop
    whole_shop.gate.spoil_request = lambda _: None
    whole_shop.gate.spoil_answer = lambda _request, _answer: None


def list_transfers(shop: Shop, user: str = "") -> list[Any]:
    """The transfers that a device with the older version would be told; those of the older for others."""
    (update,) = shop.ask_about(SHOP, "1.0.0" if user else "", user)["updates"]
    transfers: list[Any] = update["transfers"]
    return transfers


def test_what_is_released_lies_in_the_bucket(shop: Shop) -> None:
    """Two full transfers and a delta: where devices are told to fetch them, below the public address, and small."""
    (old,), (delta, new) = list_transfers(shop), list_transfers(shop, NEW)
    assert [old["format"], delta["format"], new["format"]] == ["zstd", "dcz", "zstd"]
    assert delta["from"] == "1.0.0"
    assert delta["size"] < new["size"] // 10
    for transfer in (old, delta, new):
        assert transfer["url"] == f"{shop.public}/{transfer['sha256'][:2]}/{transfer['sha256']}"
    digests = {transfer["sha256"] for transfer in (old, delta, new)}
    assert shop.names() >= {f"{sha256[:2]}/{sha256}" for sha256 in digests}
    assert not (shop.running.data / "store").is_dir() or not read_folder(shop.running.data / "store")


def test_release_that_the_cdn_does_not_give_out(shop: Shop, fetched: list[Message]) -> None:
    """No device is told of a version before its file came, whole and right, through the public address."""
    packed = shop.pack(LATE, "0.9.0")  # with other bytes than those that the publisher has seen there

    def release(code: int = 0) -> str:
        return shop.run("release", packed, "--store", shop.address, "--no-refine", code=code)

    def spoil(request: Message, answer: Message) -> None:
        if is_public(request):
            answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])

    honest = shop.gate.spoil_request
    shop.gate.spoil_request = lambda request: make_error(404, "NoSuchKey") if is_public(request) else None
    assert "got status 404" in release(code=3)
    shop.gate.spoil_request, shop.gate.spoil_answer = honest, spoil
    assert "got other bytes" in release(code=3)
    assert shop.ask_about(LATE)["unknown"] == [LATE]
    shop.gate.spoil_answer = lambda _request, _answer: None
    release()
    (update,) = eventually(lambda: shop.ask_about(LATE)["updates"])
    assert {f"{shop.gate.endpoint}{request.line.partition(' ')[2]}" for request in fetched} == {
        transfer["url"] for transfer in update["transfers"]
    }
    assert {request.headers["user-agent"] for request in fetched} == {"graywave-publisher"}


def test_update_from_the_cdn(shop: Shop, fetched: list[Message], tmp_path: Path) -> None:
    """A phone whose first download breaks and that is killed goes on where it broke; then a delta is all that moves."""
    (old,), (delta, _) = list_transfers(shop), list_transfers(shop, NEW)
    half, phone = old["size"] // 2, tmp_path / "phone"
    break_and_kill(shop, phone, half)
    path = old["url"].removeprefix(shop.gate.endpoint)
    first, second = fetched
    assert first.line == second.line == f"GET {path}"
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={half}-"
    fetched.clear()
    outcome = shop.update(phone)
    assert (outcome["status"], outcome["version"], outcome["bytes"]) == ("activated", "1.0.0", old["size"] - half)
    (rest,) = fetched
    assert (rest.line, rest.headers["range"]) == (f"GET {path}", f"bytes={half}-")
    assert rest.headers["if-range"] == second.headers["if-range"]
    assert rest.headers["if-range"].startswith('"')
    assert read_phone(phone, SHOP, "1.0.0") == shop.files["1.0.0"]
    fetched.clear()
    outcome = shop.update(phone, NEW)
    assert (outcome["status"], outcome["version"], outcome["transfer"]) == ("activated", "1.1.0", "dcz")
    assert outcome["bytes"] == delta["size"]
    assert [request.line for request in fetched] == [f"GET {delta['url'].removeprefix(shop.gate.endpoint)}"]
    assert read_phone(phone, SHOP, "1.1.0") == shop.files["1.1.0"]


def break_and_kill(shop: Shop, phone: Path, half: int) -> None:
    """Has a phone's first download break off after so many bytes, and kills it when it asks for the rest."""
    record, is_asked = shop.gate.spoil_request, Event()

    def cut(request: Message, answer: Message) -> None:
        if is_public(request):
            answer.body = answer.body[:half]
            answer.headers["connection"] = "close"

    def hold(request: Message) -> Message | None:
        record(request)
        if not is_public(request) or "range" not in request.headers:
            return None
        is_asked.set()
        process.wait(PATIENCE_S)
        return Message("503", {"connection": "close"}, b"")

    shop.gate.spoil_request, shop.gate.spoil_answer = hold, cut
    words = ("update", SHOP, "--folder", str(phone), "--data", str(shop.running.data))
    process = subprocess.Popen([sys.executable, "-m", "cli", *words], cwd=ROOT, env=shop.environ)
    try:
        assert is_asked.wait(PATIENCE_S)
    finally:
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    shop.gate.spoil_request, shop.gate.spoil_answer = record, lambda _request, _answer: None


def make_list_old(request: Message, answer: Message) -> None:
    """Has the bucket's listing say that everything was put long ago, which nobody can tell an S3 server."""
    if "list-type=2" in request.line:
        times = rb"<LastModified>[^<]*</LastModified>"
        answer.body, count = re.subn(times, f"<LastModified>{LONG_AGO}</LastModified>".encode(), answer.body)
        answer.headers["content-length"] = str(len(answer.body))
        assert count > 1


def make_all_old(request: Message, answer: Message) -> None:
    """Has the bucket say of every file that it was put long ago."""
    make_list_old(request, answer)
    if request.line.startswith("HEAD"):
        answer.headers["last-modified"] = LONG_AGO_IN_A_HEADER


def test_cleaning_the_bucket(shop: Shop, tmp_path: Path) -> None:
    """An orphan stays while it is young, and goes when it is old; what releases need stays however old it is."""
    needed, orphan = shop.names(), hashlib.sha256(b"orphan").hexdigest()
    place, beside = f"{orphan[:2]}/{orphan}", f"{PREFIX}-2/{orphan[:2]}/{orphan}"
    for key in (f"{PREFIX}/{place}", beside):
        shop.gate.server.client.put_object(Bucket=shop.bucket, Key=key, Body=b"orphan")

    def clean(*words: str) -> Any:
        told = json.loads(shop.run("gc", "--store", shop.address, "--json", *words))
        return [(file["sha256"], file["removed"]) for file in told["unneeded"]], told["kept"]

    assert clean("--delete") == ([], len(needed) + 1)
    shop.gate.spoil_answer = make_list_old  # a file that was put again since it was listed
    assert clean("--delete") == ([(orphan, False)], len(needed))
    shop.gate.spoil_answer = make_all_old
    assert clean() == ([(orphan, False)], len(needed))
    assert shop.names() == needed | {place}
    assert clean("--delete") == ([(orphan, True)], len(needed))
    assert shop.names() == needed
    assert shop.gate.server.client.get_object(Bucket=shop.bucket, Key=beside)["ContentLength"] == len(b"orphan")
    assert shop.update(tmp_path / "phone", NEW)["version"] == "1.1.0"


def test_doctor_at_the_cdn(shop: Shop, tmp_path: Path) -> None:
    """Store and ranges of the CDN are found well; of one that knows no ranges, that is the first fault named."""

    def examine(code: int = 0) -> dict[str, Any]:
        done = run_graywave(
            "doctor", "--folder", tmp_path / "phone", "--program", SHOP, "--json", "--data", shop.running.data,
            environ=shop.environ,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        told = json.loads(done.stdout)
        return {check["check"]: check for check in told["checks"]} | {"first": told["first_fault"]}

    (old,) = list_transfers(shop)
    found = examine()
    assert found["first"] is None
    assert (found["store"]["status"], found["store"]["seen"]) == ("ok", f"{old['url']}, {old['size']} bytes")
    assert (found["range"]["status"], found["range"]["seen"].partition(",")[0]) == ("ok", "206")

    def forget_range(request: Message) -> None:
        request.headers.pop("range", None)

    shop.gate.spoil_request = forget_range
    found = examine(code=3)
    assert (found["store"]["status"], found["range"]["status"], found["first"]) == ("ok", "fault", "range")
