"""Tests of edge/keyring.py."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from edge.keyring import TELL_EVERY_S, Keyring, make_provers
from edge.metrics import Counters
from edge.proof import MAX_KEYS_BYTES
from edge.settings import EdgeSettings
from ruleset import Device
from tests.edge.passport import AUDIENCE, ISSUER, NOW, USER, BackEnd
from tests.edge.press import WORKSPACE

BACK_END = BackEnd()
DEVICE = Device(id="d1", platform="ios", user=USER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of BACK_END's keys."""
    path = tmp_path / "keys.json"
    path.write_bytes(BACK_END.make_key_set())
    return path


@pytest.fixture
def proving(settings: EdgeSettings, path: Path) -> EdgeSettings:
    """Settings by which the users of the workspace have to be proven."""
    return replace(
        settings,
        proof_keys={WORKSPACE: path},
        proof_issuers={WORKSPACE: ISSUER},
        proof_audiences={WORKSPACE: AUDIENCE},
    )


def test_no_workspace_wants_proof(settings: EdgeSettings) -> None:
    """Where no keys are set nobody has to be proven, and ticking does nothing."""
    provers, counters = make_provers(settings), Counters()
    Keyring(settings, provers, counters).tick(NOW)
    assert (provers, counters.proof_keys_problem) == ({}, 0)


def test_keys_are_read_and_followed(proving: EdgeSettings, path: Path) -> None:
    """A prover has the keys of its file, of a new one when there is one, and the last good ones where it is bad."""
    provers, counters = make_provers(proving), Counters()
    keyring, prover = Keyring(proving, provers, counters), provers[WORKSPACE]
    other = BackEnd(kid="other")

    def is_proven(back_end: BackEnd) -> bool:
        keyring.tick(NOW)
        return prover.identify(DEVICE, b"Bearer " + back_end.sign(), NOW)[1]

    assert (is_proven(BACK_END), is_proven(other)) == (True, False)
    path.write_bytes(other.make_key_set())
    assert (is_proven(BACK_END), is_proven(other)) == (False, True)
    for bad in (b"{", b" " * (MAX_KEYS_BYTES + 5)):
        path.write_bytes(bad)
        assert (is_proven(other), counters.proof_keys_problem) == (True, 1)
    path.unlink()
    assert (is_proven(other), counters.proof_keys_problem) == (True, 1)
    path.write_bytes(BACK_END.make_key_set())
    assert (is_proven(BACK_END), counters.proof_keys_problem) == (True, 0)


def test_what_is_counted(proving: EdgeSettings) -> None:
    """Proven checks, verified signatures and refused tokens are counted."""
    provers, counters = make_provers(proving), Counters()
    keyring, prover = Keyring(proving, provers, counters), provers[WORKSPACE]
    keyring.tick(NOW)
    for token in (BACK_END.sign(), BACK_END.sign(), b"nonsense"):
        prover.identify(DEVICE, b"Bearer " + token, NOW)
    keyring.tick(NOW)
    assert (counters.proven, counters.proofs_verified, counters.proofs_refused) == (2, 1, 1)


def test_refused_tokens_are_told_now_and_then(proving: EdgeSettings, caplog: pytest.LogCaptureFixture) -> None:
    """Why tokens are refused is logged once a minute for each reason; neither token nor user is shown."""
    provers = make_provers(proving)
    keyring, prover = Keyring(proving, provers, Counters()), provers[WORKSPACE]
    keyring.tick(NOW)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    for second in range(TELL_EVERY_S + 1):
        for token in (b"nonsense", BACK_END.sign(iss="elsewhere", jti=second)):
            prover.identify(DEVICE, b"Bearer " + token, NOW + second)
        keyring.tick(NOW + second)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "1 tokens prove no user of demo: it is no compact JWT with alg, sub, exp, iss and aud",
        "1 tokens prove no user of demo: its iss is another",
        "60 tokens prove no user of demo: it is no compact JWT with alg, sub, exp, iss and aud",
        "60 tokens prove no user of demo: its iss is another",
    ]
    assert USER not in caplog.text
    assert "nonsense" not in caplog.text
