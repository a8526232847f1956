"""Devices of the demo, for locust: each asks, waits a little, and asks again; thresholds set the exit code.

    python -m locust -f loadtest/locustfile.py --headless --users 50 --run-time 10s --host http://127.0.0.1:8080

It asks about the programs of config/demo/demo.json and takes an answer that names another one, or a version that the
demo does not have, for a failure. It refuses every host but this machine: load on others' servers is an attack.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from locust import FastHttpUser, between, events, task
from locust.env import Environment

from loadtest.market import draw_profile

Json = dict[str, Any]

DEMO = Path(__file__).parent.parent / "config" / "demo" / "demo.json"
PREFIX = "GRAYWAVE_LOCUST_"
# The share of failed checks above which a run fails, and the 99th percentile of answer times, in milliseconds.
MAX_FAILURES, MAX_P99_MS = 0.0, 250.0
# One device of so many has nothing installed yet.
NEW_EVERY = 10


class ThresholdError(Exception):
    """A threshold in the environment that is no number."""


def read_threshold(environ: Mapping[str, str], name: str, default: float) -> float:
    """Returns a threshold from the environment, or its default.

    Raises:
        ThresholdError: it is set to something that is no number of at least 0.
    """
    text = environ.get(PREFIX + name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise ThresholdError(f"expected {PREFIX}{name} to be a number of at least 0, got {text!r}")
    return value


def is_loopback(url: str | None) -> bool:
    """Says whether a URL leads to this machine."""
    name = urlsplit(url or "").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def make_question(demo: Json, random: Random) -> Json:
    """Returns what a device of the demo asks: about every program, each at one of its versions or not installed."""
    programs = {
        one["program"]: "" if random.randrange(NEW_EVERY) == 0 else random.choice(one["versions"])
        for one in demo["programs"]
    }
    device = {"id": f"locust-{random.getrandbits(64):016x}", **draw_profile(random)}
    return {"workspace": demo["workspace"], "device": device, "programs": programs}


def find_fault(demo: Json, question: Json, answer: Any) -> str:
    """Returns what is wrong with an answer to a question about the demo, empty where nothing is."""
    versions = {one["program"]: one["versions"] for one in demo["programs"]}
    if not isinstance(answer, dict) or not {"revision", "poll_after", "updates"} <= answer.keys():
        return f"expected an answer with revision, poll_after and updates, got {answer!r:.200}"
    if answer.get("unknown"):
        return f"expected every program of the demo to be known, got {answer['unknown']!r:.200}"
    for update in answer["updates"]:
        if update["version"] not in versions.get(update["program"], []):
            return f"expected a version of the demo, got {update['version']!r} of {update['program']!r}"
        if update["version"] == question["programs"][update["program"]]:
            return f"expected nothing for {update['program']!r}, got the version that is installed"
    return ""


def judge(requests: int, fail_ratio: float, p99_ms: float, environ: Mapping[str, str]) -> list[str]:
    """Returns the thresholds that a run has broken, one a line.

    Args:
        requests: how many were answered.
        fail_ratio: the share of them that failed.
        p99_ms: the 99th percentile of the answer times, in milliseconds.
        environ: may have GRAYWAVE_LOCUST_MAX_FAILURES and GRAYWAVE_LOCUST_MAX_P99_MS.
    """
    max_failures = read_threshold(environ, "MAX_FAILURES", MAX_FAILURES)
    max_p99_ms = read_threshold(environ, "MAX_P99_MS", MAX_P99_MS)
    broken = []
    if not requests:
        broken.append("expected answers, got none")
    if fail_ratio > max_failures:
        broken.append(f"expected at most {max_failures:.2%} failures, got {fail_ratio:.2%}")
    if p99_ms > max_p99_ms:
        broken.append(f"expected a 99th percentile of at most {max_p99_ms:.0f} ms, got {p99_ms:.0f}")
    return broken


class Device(FastHttpUser):
    """One of many devices behind one user of locust: each question is another device's."""

    host = "http://127.0.0.1:8080"
    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Reads the demo once."""
        self._demo: Json = json.loads(DEMO.read_text("utf-8"))
        self._random = Random()

    @task
    def check(self) -> None:
        """Asks, and looks at the answer."""
        question = make_question(self._demo, self._random)
        with self.client.post("/v1/check", json=question, catch_response=True) as response:
            if response.status_code != HTTPStatus.OK:
                response.failure(f"expected 200, got {response.status_code}")
                return
            fault = find_fault(self._demo, question, response.json())
            if fault:
                response.failure(fault)


def refuse_others(environment: Environment, **_: object) -> None:
    """Ends locust where it is pointed at another machine."""
    host = environment.host or Device.host
    if not is_loopback(host):
        raise SystemExit(f"expected a host of this machine, got {host!r}")


def set_exit_code(environment: Environment, **_: object) -> None:
    """Sets the exit code: 1 where a threshold is broken."""
    total = environment.stats.total
    p99_ms = total.get_response_time_percentile(0.99) or 0.0
    broken = judge(total.num_requests, total.fail_ratio, p99_ms, os.environ)
    for line in broken:
        print(f"locust: {line}")  # noqa: T201 - the verdict of a command-line run
    environment.process_exit_code = 1 if broken else 0


# locust leaves its hooks untyped
events.init.add_listener(refuse_others)  # type: ignore[no-untyped-call]
events.quitting.add_listener(set_exit_code)  # type: ignore[no-untyped-call]
