"""Proof of users on a whole host: by the key file of its settings, and what nobody may find on it afterwards."""

import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.edge.passport import AUDIENCE, ISSUER, BackEnd
from tests.end_to_end.town import PROGRAM, Host, Town, ask, eventually, read_folder
from trust import TrialClaim, sign_trial

USER, DEVICE = "u-somebody-with-a-name", "d-somebodys-phone"
ADMIN_TOKEN = "an-admin-token-of-the-tests"
BACK_END = BackEnd()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's data folder."""
    return tmp_path_factory.mktemp("proving")


@pytest.fixture(scope="module")
def key_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the back end's keys."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(BACK_END.make_key_set())
    return path


@pytest.fixture(scope="module")
def proving_host(town: Town, data: Path, key_set: Path) -> Iterator[Host]:
    """A host that wants proof of the users of `hand`, whose release is for USER alone."""
    document = town.hand.make("3.0.0.0", releases=[{"id": "r1", "package": "3.0.0.0", "who": {"users": [USER]}}])
    town.hand.put(town.hand.seal(document))
    token = key_set.with_name("admin-token")
    token.write_text(ADMIN_TOKEN, "ascii")
    settings = {
        "PROOF_KEYS": f"hand={key_set}",
        "PROOF_ISSUERS": f"hand={ISSUER}",
        "PROOF_AUDIENCES": f"hand={AUDIENCE}",
        "ADMIN_TOKEN_FILE": token,
    }
    town.publish("1.0.0.0")
    with town.start_host(data, **settings) as host:
        eventually(host.is_current)
        yield host


def make_token(back_end: BackEnd) -> str:
    """A token for USER that is good now."""
    return back_end.sign(sub=USER, exp=int(time.time()) + 600).decode()


def is_told(host: Host, workspace: str = "hand", trials: Sequence[str] = (), **headers: str) -> str:
    """The release that somebody is told of who says that he is USER, and has these trials; empty for none."""
    device = {"id": DEVICE, "platform": "android", "user": USER}
    question = {"workspace": workspace, "device": device, "programs": {PROGRAM: ""}, "trials": trials}
    status, answer = ask(host.devices, "POST", "/v1/check", question, **headers)
    assert status == 200
    return "".join(update["release"] for update in answer["updates"])


def test_user_has_to_be_proven(proving_host: Host) -> None:
    """A whitelisted id alone reads nothing that is unreleased, the back end's token does; others want none."""
    assert is_told(proving_host, Authorization=f"Bearer {make_token(BACK_END)}")
    assert not is_told(proving_host)
    assert not is_told(proving_host, Authorization=f"Bearer {make_token(BackEnd(kid=BACK_END.kid))}")
    assert is_told(proving_host, "demo")
    users = proving_host.read_status()["users"]
    assert {name: text.partition(":")[0] for name, text in users.items()} == {"demo": "unproven", "hand": "proven"}


def test_trial_of_a_proven_user(town: Town, proving_host: Host) -> None:
    """A trial that the channel key has signed decides for a proven user, before what is released to him."""
    release = {"id": "r1", "package": "3.0.0.0", "who": {"users": [USER]}}
    town.hand.put(town.hand.seal(town.hand.make("3.0.0.0", releases=[release], trials=["3.0.0.0"])))
    now = int(time.time())
    claim = TrialClaim(
        workspace="hand", program=PROGRAM, version="3.0", users=(USER,), id="8f0c2d1e", issued=now, expires=now + 600
    )
    trials = [sign_trial(claim, town.hand.key)]
    token = f"Bearer {make_token(BACK_END)}"
    eventually(lambda: is_told(proving_host, trials=trials, Authorization=token) == "trial")
    assert is_told(proving_host, trials=trials) == ""
    assert is_told(proving_host, Authorization=token) == "r1"


def test_keys_are_rotated_without_a_restart(proving_host: Host, key_set: Path) -> None:
    """A new key file is in use soon in each worker, and the old key then proves nothing."""
    other = BackEnd(kid="next")
    fresh = key_set.with_name("fresh")
    fresh.write_bytes(other.make_key_set())
    fresh.rename(key_set)

    def is_followed() -> bool:
        tokens = [make_token(back_end) for back_end in (other, BACK_END)]
        told = [[bool(is_told(proving_host, Authorization=f"Bearer {token}")) for _ in range(8)] for token in tokens]
        return told == [[True] * 8, [False] * 8]

    eventually(is_followed)


def test_nothing_secret_is_left_lying_about(proving_host: Host, data: Path) -> None:
    """Neither tokens nor users of checks stand in log, status, metrics or the data folder."""
    tokens = [make_token(BackEnd(kid=kid)) for kid in ("next", BACK_END.kid, "else")]
    for token in tokens:
        is_told(proving_host, "hand", Authorization=f"Bearer {token}")
    ask(proving_host.operators, "GET", "/status", Authorization=f"Bearer {ADMIN_TOKEN}")

    def count() -> int:
        return sum(worker["proofs_refused"] for worker in proving_host.read_status()["workers"])

    eventually(lambda: count() >= len(tokens))
    status: Any = proving_host.read_status()
    shown = proving_host.read_log() + str(status) + read_metrics(proving_host)
    kept = b"".join(read_folder(data).values())
    assert re.search("tokens prove no user of hand: its (signature|kid)", shown)
    for secret in (*tokens, *[token.rpartition(".")[2] for token in tokens], ADMIN_TOKEN):
        assert secret not in shown
        assert secret.encode() not in kept
    # The document's whitelist names him, and is in edge.db; who asked is nowhere.
    assert USER not in shown
    assert DEVICE not in shown
    assert DEVICE.encode() not in kept


def read_metrics(host: Host) -> str:
    """What /metrics says."""
    with urllib.request.urlopen(f"http://{host.operators}/metrics") as answer:
        return str(answer.read(), "utf-8")
