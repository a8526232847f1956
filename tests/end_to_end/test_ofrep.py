"""The independent OFREP clients drive a running edge: OpenFeature's provider for Python, and the one for web pages."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from tests.docs.page import read_blocks
from tests.end_to_end.town import ASKED, PATIENCE_S, ROOT, TOKEN, Host, Town, ask, eventually

Json = dict[str, Any]
CLIENT = ROOT / "tests" / "ofrep"
NEW_HOME = "new-home"


def make_flag(type_: str, value: object, *rules: Json, **members: Any) -> Json:
    """A switch of one value, and of another that is only given by a rule."""
    other = {"boolean": True, "string": "other", "integer": 1, "float": 1.5, "object": {"other": True}}[type_]
    return {"type": type_, "variants": {"own": value, "other": other}, "default": "own", "rules": rules, **members}


# OpenFeature's own set of values, and what it does not have: rules.
FLAGS = {
    "boolean-flag": make_flag("boolean", value=False),
    "string-flag": make_flag("string", "hi"),
    "string-zero-flag": make_flag("string", ""),
    "integer-flag": make_flag("integer", 10),
    "integer-zero-flag": make_flag("integer", 0),
    "huge-integer-flag": make_flag("integer", 9007199254740991),
    "float-flag": make_flag("float", 0.5),
    "integral-float-flag": make_flag("float", 10),
    "object-flag": make_flag("object", {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}),
    "disabled-string-flag": make_flag("string", "hi", state="disabled"),
    "targeting-key-flag": make_flag("string", "miss", {"id": "r", "variant": "other", "who": {"users": ["u-777"]}}),
    "plan-flag": make_flag(
        "string",
        "free",
        {"id": "r", "variant": "other", "when": [{"attribute": "tags.plan", "op": "in", "values": ["Premium"]}]},
    ),
    NEW_HOME: make_flag("boolean", False, {"id": "all", "variant": "other", "who": {"percent": {"parts": 1_000_000}}}),  # noqa: FBT003
}


def publish(town: Town, flags: Json, name: str = "app") -> Json:
    """Publishes a switch set over what is there; returns what the publisher answers."""
    path, headers = f"/v1/documents/switches/{name}", {"Authorization": f"Bearer {TOKEN}"}
    is_there = ask(town.address, "GET", path, **headers)[0] == 200
    precondition = {"If-Match": "*"} if is_there else {"If-None-Match": "*"}
    document = {"format": 1, "switches": name, "flags": flags}
    status, answer = ask(town.address, "PUT", path, document, **headers, **precondition)
    assert status in {200, 202}, answer
    return dict(answer)


@pytest.fixture(scope="module")
def switching_host(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with FLAGS, on which two workspaces are served and two workers answer."""
    town.publish("1.0.0.0")
    publish(town, FLAGS)
    with town.start_host(tmp_path_factory.mktemp("switching")) as host:
        await_everywhere(host)
        yield host


def await_everywhere(host: Host) -> None:
    """Waits until so many pages, hence every worker, are told of FLAGS."""

    def is_told() -> bool:
        status, told = ask(host.devices, "POST", "/ofrep/v1/evaluate/flags", {}, **{"X-Graywave-Workspace": "demo"})
        values = {flag["key"]: flag.get("value") for flag in told["flags"]} if status == 200 else {}
        return values.keys() == FLAGS.keys() and values["string-flag"] == "hi"

    eventually(lambda: all(is_told() for _ in range(ASKED)))


@pytest.fixture
def provider(switching_host: Host) -> Iterator[OFREPProvider]:
    """OpenFeature's provider for Python, which asks for one switch at a time."""
    provider = OFREPProvider(
        f"http://{switching_host.devices}", headers_factory=lambda: {"X-Graywave-Workspace": "demo"}
    )
    api.set_provider(provider)
    yield provider
    api.clear_providers()
    provider.session.close()


CONTEXT = EvaluationContext("u-777", {"plan": "premium", "platform": "android"})


@pytest.mark.usefixtures("provider")
def test_python_client_reads_every_type() -> None:
    """Values arrive as what they are, the whole float too, with variant and reason."""
    client = api.get_client()
    assert client.get_boolean_value("boolean-flag", default_value=True) is False
    assert client.get_string_value("string-flag", "bye") == "hi"
    assert client.get_string_value("string-zero-flag", "bye") == ""
    assert client.get_integer_value("integer-flag", 1) == 10
    assert client.get_integer_value("integer-zero-flag", 1) == 0
    assert client.get_integer_value("huge-integer-flag", 1) == 9007199254740991
    assert client.get_float_value("float-flag", 0.1) == 0.5
    whole = client.get_float_details("integral-float-flag", 0.1)
    assert (whole.value, type(whole.value), whole.error_code) == (10.0, float, None)
    assert client.get_object_value("object-flag", {}) == FLAGS["object-flag"]["variants"]["own"]
    details = client.get_string_details("string-flag", "bye")
    assert (details.variant, details.reason) == ("own", Reason.STATIC)


@pytest.mark.usefixtures("provider")
def test_python_client_is_targeted() -> None:
    """Users, tags and percentages decide by the context, and say for what reason."""
    client = api.get_client()
    hit = client.get_string_details("targeting-key-flag", "", CONTEXT)
    assert (hit.value, hit.variant, hit.reason) == ("other", "other", Reason.TARGETING_MATCH)
    miss = client.get_string_details("targeting-key-flag", "", EvaluationContext("u-778"))
    assert (miss.value, miss.reason) == ("miss", Reason.UNKNOWN)
    assert client.get_string_value("plan-flag", "", CONTEXT) == "other"
    split = client.get_boolean_details(NEW_HOME, default_value=False, evaluation_context=CONTEXT)
    assert (split.value, split.reason) == (True, Reason.SPLIT)


@pytest.mark.usefixtures("provider")
def test_python_client_falls_back(switching_host: Host) -> None:
    """What has no value leaves the code's own, and errors are those that the client knows."""
    client = api.get_client()
    disabled = client.get_string_details("disabled-string-flag", "mine")
    assert (disabled.value, disabled.reason, disabled.error_code) == ("mine", Reason.DISABLED, None)
    missing = client.get_string_details("missing-flag", "mine")
    assert (missing.value, missing.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)
    unnamed = client.get_boolean_details(NEW_HOME, default_value=False)
    assert (unnamed.value, unnamed.error_code) == (False, ErrorCode.TARGETING_KEY_MISSING)
    wrong = client.get_integer_details("string-flag", 7)
    assert (wrong.value, wrong.error_code) == (7, ErrorCode.TYPE_MISMATCH)
    api.set_provider(OFREPProvider(f"http://{switching_host.devices}"))
    nowhere = api.get_client().get_string_details("string-flag", "mine")
    assert (nowhere.value, nowhere.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)


class Page:
    """A web page with OpenFeature's provider, which asks for all switches again and again.

    Args:
        host: whom it asks.
        workspace: about which workspace.
        key: its targeting key.
    """

    def __init__(self, host: Host, workspace: str, key: str) -> None:
        install_client()
        command = ["node", "web_client.mjs", f"http://{host.devices}", workspace, key]
        self._process = subprocess.Popen(
            command, cwd=CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        # Whoever waits in vain is told by the end of its output.
        self._patience = threading.Timer(PATIENCE_S, self._process.kill)
        self._patience.start()

    def wait_for(self, name: str, *values: object) -> Json:
        """Returns the next line that has a member of one of these values, of any where none is named."""
        assert self._process.stdout
        for line in self._process.stdout:
            told: Json = json.loads(line)
            if name in told and (not values or told[name] in values):
                return told
        raise AssertionError(f"the page ended before it told of {name} {values}")

    def read(self, key: str, default: object) -> Json:
        """What the page finds a switch to be."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([key, default]) + "\n")
        return self.wait_for("key", key)

    def close(self) -> None:
        """Closes the page."""
        assert self._process.stdin
        assert self._process.stdout
        self._patience.cancel()
        self._process.stdin.close()
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


def install_client() -> None:
    """Installs what the page is made of, as its lock has it, where that is not there yet."""
    if shutil.which("npm") is None and os.environ.get("CI") != "true":
        pytest.skip("no npm on this machine")
    lock, installed = CLIENT / "package-lock.json", CLIENT / "node_modules" / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        done = subprocess.run(["npm", "ci"], cwd=CLIENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        installed.write_bytes(lock.read_bytes())


@pytest.fixture
def page(switching_host: Host) -> Iterator[Page]:
    """An open web page of a user."""
    page = Page(switching_host, "demo", "u-777")
    yield page
    page.close()


def test_web_client_reads_every_type(page: Page) -> None:
    """All values come with the first answer, as what they are."""
    assert page.wait_for("status")["status"] == 200
    assert page.read("boolean-flag", default=True)["value"] is False
    assert page.read("string-flag", "bye") == {
        "key": "string-flag", "value": "hi", "reason": "STATIC", "variant": "own",
    }  # fmt: skip
    assert [
        page.read(key, 7)["value"] for key in ("integer-zero-flag", "huge-integer-flag", "integral-float-flag")
    ] == [
        0,
        9007199254740991,
        10,
    ]
    assert page.read("object-flag", {})["value"] == FLAGS["object-flag"]["variants"]["own"]
    assert page.read("targeting-key-flag", "")["value"] == "other"
    assert page.read("plan-flag", "")["value"] == "other"
    assert page.read(NEW_HOME, default=False)["reason"] == "SPLIT"
    assert page.read("disabled-string-flag", "mine")["value"] == "mine"
    assert page.read("missing-flag", "mine")["errorCode"] == "FLAG_NOT_FOUND"
    assert page.read("string-flag", 7)["errorCode"] == "TYPE_MISMATCH"


def test_web_client_polls(page: Page, switching_host: Host, town: Town) -> None:
    """What has not changed is answered with 304 by every worker; a change arrives by itself, and names its switch."""
    assert page.wait_for("status")["status"] == 200
    assert [page.wait_for("status")["status"] for _ in range(20)] == [304] * 20
    flags = {**FLAGS, "string-flag": make_flag("string", "changed")}
    publish(town, flags)
    try:
        assert page.wait_for("changed")["changed"] == ["string-flag"]
        eventually(lambda: page.read("string-flag", "bye")["value"] == "changed")  # the other worker may be later
    finally:
        publish(town, FLAGS)
        await_everywhere(switching_host)
    eventually(lambda: read_metrics(switching_host)["flags_unchanged"] >= 20)
    metrics = read_metrics(switching_host)
    assert metrics["flag_requests"] > metrics["flags_unchanged"]


def test_web_client_survives_another_workspace(switching_host: Host) -> None:
    """A page of a workspace that is not served goes on with the values in its code."""
    page = Page(switching_host, "nowhere", "u-777")
    try:
        assert page.wait_for("status")["status"] == 404
        assert page.wait_for("error")["error"].endswith("status: 404")
        assert page.read("string-flag", "mine")["value"] == "mine"
    finally:
        page.close()


def read_metrics(host: Host) -> Json:
    """The counters of all workers, summed."""
    workers = host.read_status()["workers"]
    return {name: sum(worker[name] for worker in workers) for name in ("flag_requests", "flags_unchanged")}


def test_page_of_the_documents(town: Town, switching_host: Host, tmp_path: Path) -> None:
    """The set of docs/switches.md is published as it stands, and answers as the page says."""
    blocks = [block.text for block in read_blocks((ROOT / "docs" / "switches.md").read_text("utf-8"))]
    document = json.loads(next(text for text in blocks if '"switches":"app"' in text))
    told = json.loads(next(text for text in blocks if '"reason"' in text))
    command = next(text for text in blocks if "curl" in text)
    body = re.search(r"-d '([^']+)'", command)
    assert body
    path = tmp_path / "switches.json"
    path.write_text(json.dumps(document), "utf-8")
    publish(town, document["flags"])
    try:
        address = f"/ofrep/v1/evaluate/flags/{told['key']}"
        asked = (switching_host.devices, "POST", address, json.loads(body[1]))
        eventually(lambda: ask(*asked, **{"X-Graywave-Workspace": "demo"}) == (200, told))
    finally:
        publish(town, FLAGS)
        await_everywhere(switching_host)
