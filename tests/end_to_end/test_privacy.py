"""Where a run leaves the ids of devices and users: where a document names them, and nowhere else.

A real publisher, Redis and two hosts are told ids in every way that there is; then all that they keep and show is
searched for these ids, in every form that somebody might have written them in.
"""

import base64
import hashlib
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from edge.cache import FILE_NAME
from edge.refuge import BASE, name_refuge, remove_refuge
from settings.key import read_key
from tests.edge.passport import AUDIENCE, ISSUER, BackEnd
from tests.end_to_end.town import PROGRAM, TOKEN, Host, Town, ask, eventually, read_folder, run_graywave

VERSION = "1.0.0.0"
ADMIN_TOKEN = "an-admin-token-of-the-tests"
REDIS_PASSWORD = "a-password-of-the-edges"
BACK_END = BackEnd()
HOUR_S = 3_600
AUTHOR = {"Authorization": f"Bearer {TOKEN}"}
# Whom a document names by their ids, as its author has written them: docs/privacy.md says so.
NAMED = ("named", "named-by-a-switch")
# What somebody might shorten an id by who has no key: whoever has such a hash can try ids, so it is as good as the id.
_DIGESTS = {
    "md5": hashlib.md5,
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    **{f"blake2b-{size}": lambda text, size=size: hashlib.blake2b(text, digest_size=size) for size in (8, 16, 32, 64)},
}


class Find(NamedTuple):
    """What was found: where, which of the things, in which form."""

    place: str
    id: str
    form: str


@dataclass(slots=True)
class Street:
    """Two hosts of a town, one of which goes on in memory, and every id that they or the publisher were told.

    `ids` has the ids by how they were told, `secrets` what proves who somebody is, `said` what commands have said.
    """

    town: Town
    hosts: dict[str, Host]
    datas: dict[str, Path]
    scratch: Path
    store: Path
    temporary: Path
    ids: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def name(self, how: str) -> str:
        """Returns an id that nothing else is, to be told in this way."""
        return self.ids.setdefault(how, f"{how}-{secrets.token_hex(8)}")

    def ask_all(self, path: str, body: Any, **headers: str) -> list[tuple[int, Any]]:
        """Asks each host as a device; with a body that is text, as it stands there."""
        return [_ask(host.devices, path, body, headers) for host in self.hosts.values()]

    def check(self, device: str, user: str, trials: tuple[str, ...] = (), **headers: str) -> list[str]:
        """The releases that a device is told of by each host."""
        facts = {"id": device, "user": user, "platform": "android", "model": "MI 10"}
        question = {"workspace": "demo", "device": facts, "programs": {PROGRAM: ""}, "trials": trials, "switches": True}
        told = self.ask_all("/v1/check", question, **headers)
        return ["".join(update["release"] for update in answer["updates"]) for _, answer in told]

    def run(self, *words: object) -> str:
        """Runs a command to a good end; what it says is searched, too."""
        done = run_graywave(*words, environ={**os.environ, "TMPDIR": str(self.temporary)})
        assert done.returncode == 0, done.stderr
        self.said[f"graywave {words[0]}"] = (done.stdout + done.stderr).encode()
        return done.stdout

    def search_ids(self) -> set[Find]:
        """Returns every id that is found in what is kept or shown."""
        return self.search({id_: make_forms(text) for id_, text in self.ids.items()})

    def search(self, forms: Mapping[str, Mapping[str, bytes]]) -> set[Find]:
        """Returns what is found of some things in what is kept or shown, each thing in any of its forms."""
        return {
            Find(place, name, form)
            for place, content in self.gather().items()
            for name, needles in forms.items()
            for form, needle in needles.items()
            if needle in content
        }

    def gather(self) -> Mapping[str, bytes]:
        """Returns all that is kept or shown, by the place where it is."""
        folders = {
            "town": self.town.folder,
            "store": self.store,
            "temporary": self.temporary,
            **self.datas,
            **{f"{name}'s refuge": name_refuge(data) for name, data in self.datas.items()},
        }
        files = {
            f"{name}: {path}": text for name, folder in folders.items() for path, text in read_folder(folder).items()
        }
        return {**files, **self.said, "redis": dump(self.town.redis.url), **self._read_pages()}

    def _read_pages(self) -> dict[str, bytes]:
        pages = ("status", "metrics", "readyz", "healthz", f"versions?workspace=demo&program={PROGRAM}")
        return {f"{name}'s /{page}": read_page(host, page) for name, host in self.hosts.items() for page in pages}


def _ask(address: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """A body that is text is sent as it stands there."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"http://{address}{path}", data, given)
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - http
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def read_page(host: Host, page: str) -> bytes:
    """What operators see."""
    with urllib.request.urlopen(f"http://{host.operators}/{page}") as answer:
        return bytes(answer.read())


def dump(url: str) -> bytes:
    """All keys of a Redis and what they hold, as text that Redis itself would compress on its disk."""
    read = {
        b"string": lambda client, key: [client.get(key)],
        b"hash": lambda client, key: client.hgetall(key).items(),
        b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda client, key: client.xrange(key),
        b"set": lambda client, key: client.smembers(key),
        b"list": lambda client, key: client.lrange(key, 0, -1),
    }
    with Redis.from_url(url) as client:
        return b"\n".join(
            key + b"\n" + b"\n".join(_join(item) for item in read[client.type(key)](client, key))
            for key in client.scan_iter()
        )


def _join(item: Any) -> bytes:
    """Bytes stay what they are: in their repr nothing would be found that is not text."""
    if isinstance(item, bytes):
        return item
    parts = item.items() if isinstance(item, dict) else item if isinstance(item, tuple) else [str(item).encode()]
    return b" ".join(map(_join, parts))


def make_forms(id_: str) -> dict[str, bytes]:
    """What an id may look like in bytes: as it is, in capitals, hexadecimal, within base64, or hashed without a key."""
    noise = id_.rpartition("-")[2].encode()
    forms = {
        **make_plain_forms(noise),
        "capitals": noise.upper(),
        "hex in capitals": noise.hex().upper().encode(),
        "utf-16": noise.decode().encode("utf-16-le"),
    }
    for name, digest in _DIGESTS.items():
        made = digest(id_.encode()).digest()
        forms |= {name: made, f"{name} in hex": made.hex().encode()}
    return forms


def make_plain_forms(secret: bytes) -> dict[str, bytes]:
    """What a secret may look like in bytes: as it is, hexadecimal, or within base64."""
    within = {f"base64 behind {before} bytes": _encode_within(secret, before) for before in range(3)}
    return {"plain": secret, "hex": secret.hex().encode(), **within}


def _encode_within(text: bytes, before: int) -> bytes:
    """What is the same of a text in base64, whatever stands before and behind it."""
    encoded = base64.b64encode(b"\0" * before + text)
    return encoded[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]


@pytest.fixture(scope="module")
def street(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Two hosts that want proof of users; one of them can keep nothing on its disk but the journals."""
    folder = tmp_path_factory.mktemp("street")
    datas = {"near": folder / "near", "far": folder / "far"}
    (datas["far"] / FILE_NAME).mkdir(parents=True)
    (folder / "keys.json").write_bytes(BACK_END.make_key_set())
    (folder / "admin-token").write_text(ADMIN_TOKEN, "ascii")
    for name in ("store", "temporary", "scratch"):
        (folder / name).mkdir()
    settings = {
        "PROOF_KEYS": f"demo={folder / 'keys.json'}",
        "PROOF_ISSUERS": f"demo={ISSUER}",
        "PROOF_AUDIENCES": f"demo={AUDIENCE}",
        "ADMIN_TOKEN_FILE": folder / "admin-token",
        "STORE": folder / "store",
        "WORKERS": 1,
        "REDIS": town.redis.url.replace("unix://", f"unix://edge:{REDIS_PASSWORD}@"),
    }
    with Redis.from_url(town.redis.url) as client:
        client.acl_setuser(
            "edge", enabled=True, passwords=[f"+{REDIS_PASSWORD}"], keys="*", channels="*", commands=["+@all"]
        )
    with town.start_host(datas["near"], **settings) as near, town.start_host(datas["far"], **settings) as far:
        hosts = {"near": near, "far": far}
        street = Street(town, hosts, datas, folder / "scratch", folder / "store", folder / "temporary")
        street.secrets |= list_secrets(town)
        publish(street)
        live(street)
        yield street
    remove_refuge(name_refuge(datas["far"]))


def list_secrets(town: Town) -> dict[str, bytes]:
    """What servers are given and nobody else may have."""
    private = {
        f"{workspace}'s {path.stem}": json.loads(path.read_bytes())["d"].encode()
        for workspace, keys in town.keys.items()
        for path in keys.glob("*.key")
    }
    tokens = {"admin token": ADMIN_TOKEN, "publisher's token": TOKEN, "password in redis": REDIS_PASSWORD}
    given = {name: text.encode() for name, text in tokens.items()}
    return {**private, **given, "fingerprint key": read_key(town.fingerprint_key)}


def publish(street: Street) -> None:
    """Publishes a list, switches, and a release by list, window and name; returns when both hosts have all of it."""
    street.run(
        "audience", "put", "qa", write_ids(street, "listed", "listed-and-never-seen", "proven"), *name_places(street)
    )
    window = {"limit": 50, "closes_at": int(time.time()) + HOUR_S}
    who = {"users": [street.name("named")], "audiences": ["qa"], "window": window}
    street.town.publish(VERSION, who=who)
    document = ask(street.town.address, "GET", f"/v1/documents/program/{PROGRAM}", **AUTHOR)[1]
    put(street, f"program/{PROGRAM}", document | {"trials": [VERSION]}, "If-Match")
    rule = {"id": "r1", "variant": "on", "who": {"users": [street.name("named-by-a-switch")]}}
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "rules": [rule]}
    put(street, "switches/app", {"format": 1, "switches": "app", "flags": {"new-home": flag}}, "If-None-Match")
    newest = max(one["revision"] for one in ask(street.town.address, "GET", "/v1/documents", **AUTHOR)[1]["documents"])
    for host in street.hosts.values():
        eventually(lambda host=host: has_come_to(host, newest))


def write_ids(street: Street, *hows: str) -> Path:
    """A file with an id of each kind, as somebody hands in who makes a list."""
    path = street.scratch / "ids.txt"
    path.write_text("".join(f"{street.name(how)}\n" for how in hows))
    return path


def name_places(street: Street) -> tuple[object, ...]:
    """The options of `graywave audience`."""
    token = street.scratch / "token"
    token.write_text(TOKEN)
    publisher = ("--publisher", f"http://{street.town.address}", "--token-file", token)
    return ("--key", f"k1={street.town.fingerprint_key}", "--store", street.store, *publisher)


def put(street: Street, path: str, document: Any, precondition: str, status: int = 200) -> None:
    """Publishes a document, or has it refused."""
    answer = ask(street.town.address, "PUT", f"/v1/documents/{path}", document, **AUTHOR, **{precondition: "*"})
    assert answer[0] == status, answer


def has_come_to(host: Host, revision: int) -> bool:
    """Says whether a host and its worker have everything up to a revision."""
    status = host.read_status()
    cursors = {worker["cursor"] for worker in status["workers"]}
    return status["workspaces"]["demo"]["revision"] >= revision and cursors == {status["row"]}


def live(street: Street) -> None:
    """Devices ask and report, well and badly, and operators look at them; returns when all of it has been counted."""
    name = street.name
    eventually(lambda: street.check(name("in-the-window"), name("claimed")) == ["r1", "r1"])
    for how in ("listed", "named", "proven"):
        proof = prove(name(how))
        street.secrets[f"token of {how}"] = proof["Authorization"].rpartition(".")[2].encode()
        eventually(lambda how=how, proof=proof: street.check(name(f"device-of-{how}"), "", **proof) == ["r1", "r1"])
    claim = {"program": PROGRAM, "version": VERSION, "users": [name("trial")], "expires": int(time.time()) + HOUR_S}
    status, made = ask(street.town.address, "POST", "/v1/trials", claim, **AUTHOR)
    assert status == 201, made
    street.secrets["trial"] = made["trial"].rpartition(".")[2].encode()
    assert street.check(name("device-of-trial"), "", (made["trial"],), **prove(name("trial"))) == ["trial"] * 2
    street.check(
        name("device-of-refused"), name("refused"), **prove(name("refused-by-proof"), BackEnd(kid=BACK_END.kid))
    )
    waiting = {
        "workspace": "demo",
        "device": {"id": name("held"), "platform": "ios"},
        "programs": {"2021000000000404": ""},
    }
    assert [status for status, _ in street.ask_all("/v1/check", waiting, Prefer="wait=1")] == [200, 200]
    report(street)
    ask_badly(street)
    look_at_devices(street)
    for host in street.hosts.values():
        eventually(lambda host=host: is_counted(host))


def prove(user: str, back_end: BackEnd = BACK_END) -> dict[str, str]:
    """The header by which a back end proves a user."""
    return {"Authorization": f"Bearer {back_end.sign(sub=user, exp=int(time.time()) + HOUR_S).decode()}"}


def report(street: Street) -> None:
    """A device says that it runs the version, and asks for switches."""
    event = {"program": PROGRAM, "to": VERSION, "release": "r1", "outcome": "confirmed", "at": 1}
    device = {"id": street.name("reporting"), "user": street.name("reporting-user"), "platform": "android"}
    body = {"workspace": "demo", "device": device, "events": [event | {"nonce": street.name("nonce")}]}
    assert [status for status, _ in street.ask_all("/v1/report", body)] == [202, 202]
    context = {"targetingKey": street.name("targeted"), "user": street.name("named-by-a-switch")}
    for path in ("/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/new-home"):
        answers = street.ask_all(path, {"context": context}, **{"X-Graywave-Workspace": "demo"})
        assert [status for status, _ in answers] == [200, 200]


def ask_badly(street: Street) -> None:
    """Everything that is refused, with an id at each place where one may stand."""
    device = {"id": street.name("malformed"), "platform": "android"}
    question = {"workspace": "demo", "device": device, "programs": {PROGRAM: ""}}
    bad = [
        json.dumps(question)[:-1],
        json.dumps(question | {"workspace": street.name("workspace")}),
        json.dumps(question | {"device": device | {"platform": street.name("platform")}}),
        json.dumps(question | {"programs": {PROGRAM: street.name("version")}}),
        json.dumps(question | {"programs": {street.name("program") * 20: ""}}),
        json.dumps(question | {"device": device | {"user": street.name("long") * 20}}),
    ]
    for path in ("/v1/check", "/v1/report", "/ofrep/v1/evaluate/flags", f"/v1/root/{street.name('path')}"):
        for body in bad:
            assert all(status >= 400 for status, _ in street.ask_all(path, body)), (path, body)
    street.ask_all(f"/v1/check?device={street.name('query')}", question, Cookie=street.name("cookie"))
    street.ask_all("/v1/check", question, Authorization=f"Bearer {street.name('no-token')}")
    users = {"releases": [{"id": "r", "package": "9", "who": {"users": [street.name("refused-document")]}}]}
    put(street, f"program/{PROGRAM}", {"format": 1, "program": PROGRAM, "packages": {}, **users}, "If-Match", 422)


def look_at_devices(street: Street) -> None:
    """An operator, with the admin token and with another, asks about devices and takes a sample."""
    device = {"id": street.name("explained"), "user": street.name("explained-user"), "platform": "android"}
    one = {"workspace": "demo", "program": PROGRAM, "device": device}
    many = {
        "workspace": "demo",
        "programs": {PROGRAM: ""},
        "users": [street.name("evaluated")],
        "device": {"platform": "ios"},
    }
    for host in street.hosts.values():
        for path, question in (("/v1/explain", one), ("/v1/evaluate", many)):
            for token, expected in ((ADMIN_TOKEN, 200), (street.name("admin-guess"), 401)):
                status, _ = ask(host.operators, "POST", path, question, Authorization=f"Bearer {token}")
                assert status == expected
        ask(host.operators, "GET", f"/versions?workspace={street.name('admin-query')}")


def is_counted(host: Host) -> bool:
    """Says whether what devices have done is where operators see it."""
    windows = host.read_status()["workspaces"]["demo"]["windows"]
    versions = json.loads(read_page(host, f"versions?workspace=demo&program={PROGRAM}"))
    refused = sum(worker["proofs_refused"] for worker in host.read_status()["workers"])
    return sum(windows["members"].values()) >= 1 and versions["versions"] == {VERSION: 1} and refused >= 1


def read_samples(host: Host) -> list[Any]:
    """The sample that a host keeps."""
    answer = ask(host.operators, "GET", "/v1/samples?workspace=demo", Authorization=f"Bearer {ADMIN_TOKEN}")[1]
    return list(answer["samples"])


def write_samples(street: Street, name: str) -> None:
    """Writes it into a file, by the command."""
    path = street.datas["near"].parent / f"samples-{name}.json"
    token = street.scratch / "admin"
    token.write_text(ADMIN_TOKEN)
    admin = ("--admin", f"http://{street.hosts[name].operators}", "--admin-token-file", token)
    street.run("samples", "--json", path, "--workspace", "demo", *admin)
    street.said[f"{name}'s samples"] = path.read_bytes()


def test_no_id_is_left_lying_about(street: Street) -> None:
    """Neither Redis, edge.db, journals, refuge, store, logs, metrics, status nor samples have an id that was told."""
    for name, host in street.hosts.items():
        eventually(lambda host=host: len(read_samples(host)) > len(NAMED))
        write_samples(street, name)
    assert street.hosts["far"].read_status()["disk_problem"]
    assert name_refuge(street.datas["far"]).is_relative_to(BASE)
    found = {find for find in street.search_ids() if find.id not in NAMED}
    assert found == set()


def test_no_secret_is_left_lying_about(street: Street) -> None:
    """Neither tokens, passwords nor keys are anywhere but in the files that the operator has written."""
    forms = {name: make_plain_forms(secret) for name, secret in street.secrets.items()}
    assert len(forms) > len(("admin", "publisher", "redis", "fingerprint", "trial"))
    found = street.search(forms)
    given = ("town: keys-", f"town: {street.town.fingerprint_key.name}")
    assert {find for find in found if not find.place.startswith(given)} == set()
    assert {"demo's channel", "hand's offer", "fingerprint key"} <= {find.id for find in found}


def test_the_search_finds(street: Street) -> None:
    """It sees those whom a document names: they are where that document is, and in no log and on no page."""
    found = {find for find in street.search_ids() if find.id in NAMED}
    assert {find.form for find in found} == {"plain"}
    for id_ in NAMED:
        places = {find.place for find in found if find.id == id_}
        assert "redis" in places
        assert any(place.startswith("near: edge-") for place in places)
        assert any(place.startswith("far's refuge: edge-") for place in places)
        assert any(place.startswith("town: publisher/publisher.db") for place in places)
        kept = ("redis", "near: edge-", "far's refuge: edge-", "town: publisher/publisher.db", "town: redis/")
        assert [place for place in places if not place.startswith(kept)] == []


@pytest.mark.parametrize("before", range(3))
def test_every_form_is_found(before: int) -> None:
    """Whatever stands around it, an id is found as it is, in hexadecimal and in base64."""
    id_ = f"somebody-{secrets.token_hex(8)}"
    forms = make_forms(id_)
    text = "x" * before + f"{id_!r} and more"
    assert forms["plain"] in text.encode()
    assert forms["hex"] in text.encode().hex().encode()
    within = [form for form, needle in forms.items() if needle in base64.urlsafe_b64encode(text.encode())]
    assert len(within) == 1
    assert hashlib.sha256(id_.encode()).digest() == forms["sha256"]
