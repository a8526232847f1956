"""Devices that a real host holds: told of what is published, kept through a reload, answered when the host stops."""

import http.client
import json
from contextlib import ExitStack
from pathlib import Path

from tests.end_to_end.town import PATIENCE_S, PROGRAM, Host, Town, eventually, run_graywave

DEVICES = 8


class Device:
    """A device that would wait, on one connection.

    Args:
        host: that it asks.
        installed: the version that it has.
    """

    def __init__(self, host: Host, installed: str, stack: ExitStack) -> None:
        self._connection = http.client.HTTPConnection(host.devices, timeout=PATIENCE_S)
        stack.callback(self._connection.close)
        self._connection.connect()
        self._connection.auto_open = False  # where the connection ends the test does, too
        self.installed = installed
        self.is_last = False

    def ask(self) -> None:
        """Asks."""
        question = {
            "workspace": "demo",
            "device": {"id": "d-1", "platform": "android"},
            "programs": {PROGRAM: self.installed},
        }
        headers = {"Content-Type": "application/json", "Prefer": "wait=50"}
        self._connection.request("POST", "/v1/check", json.dumps(question), headers)

    def read(self) -> list[str]:
        """Returns the versions that it is told, after it was held."""
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        assert response.getheader("Preference-Applied") == "wait=50", answer
        self.is_last = response.getheader("Connection") == "close"
        return [update["version"] for update in answer["updates"]]

    def await_version(self, version: str) -> None:
        """Asks again where its time was over, until it is told, and installs that."""
        while not (told := self.read()):
            self.ask()
        assert told == [version]
        self.installed = version


def ask_all(host: Host, devices: list[Device]) -> None:
    """All ask; returns once all are held."""
    for device in devices:
        device.ask()
    eventually(lambda: sum(worker["held"] for worker in host.read_status()["workers"]) == len(devices))


def test_held_devices(town: Town, tmp_path: Path) -> None:
    """Held devices are told of a publish; through a reload they keep their connections; a stop answers them."""
    town.publish("1.0.0.0")
    with town.start_host(tmp_path, WORKERS=2) as host, ExitStack() as stack:
        eventually(host.is_current)
        devices = [Device(host, "1.0.0.0", stack) for _ in range(DEVICES)]
        ask_all(host, devices)
        town.publish("1.1.0.0")
        for device in devices:
            device.await_version("1.1.0.0")

        ask_all(host, devices)
        done = run_graywave("edge", "reload", "--data", tmp_path)
        assert (done.returncode, done.stdout) == (0, "reloaded\n"), done.stderr
        for device in devices:
            assert device.read() == []
            assert not device.is_last
        ask_all(host, devices)
        town.publish("1.2.0.0")
        for device in devices:
            device.await_version("1.2.0.0")

        ask_all(host, devices)
        assert host.end() == 0
        for device in devices:
            assert device.read() == []
            assert device.is_last
