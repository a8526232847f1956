"""`graywave up`: everything on one machine, on embedded defaults, until it is interrupted; the data folder stays."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import click

from cli.demo import FOLDER, WORKSPACE, publish_demo
from cli.embedded import EmbeddedRedisError, PrivateRedis
from cli.exit import CommandError, Exit
from cli.home import Home, take_home
from cli.http import ask
from cli.keys import DAY_S, make_keys
from cli.publishing import open_publisher

DEFAULT_PORT: Final = 8080
ROOT_LIFE_S = 3650 * DAY_S
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
TOKEN_BYTES = 24


@click.command()
@click.option(
    "--port", envvar="GRAYWAVE_PORT", default=DEFAULT_PORT, show_default=True, show_envvar=True,
    type=click.IntRange(1, 65_533), help="The edge's port; admin listener and publisher take the next two.",
)  # fmt: skip
@click.option(
    "--redis", envvar="GRAYWAVE_REDIS", show_envvar=True, help="Address of a Redis.  [default: a private one]"
)
@click.option("--demo/--no-demo", "has_demo", default=True, help="Publish the demo programs.")
@take_home
def up(port: int, redis: str | None, home: Home, *, has_demo: bool) -> None:
    """Run a private Redis, a publisher and an edge, with demo programs, until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            _refuse_taken_ports(port)
            _prepare(home, port)
            address = redis or stack.enter_context(_run_redis(home))
            stack.callback(home.addresses.unlink, missing_ok=True)
            stack.enter_context(_run_server("publisher", _set_publisher(home, port, address), home))
            _wait(f"http://127.0.0.1:{port + 2}/healthz", "the publisher", home)
            stack.enter_context(_run_server("edge", _set_edge(home, port, address), home))
            if has_demo:
                publish_demo(home, open_publisher(home, None, None))
            _wait(f"http://127.0.0.1:{port + 1}/readyz", "the edge", home)
            _say_ready(port, home)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            click.echo("stopping", err=True)


def _prepare(home: Home, port: int) -> None:
    """Makes what a first start needs: keys, token, and where the servers listen."""
    home.folder.mkdir(parents=True, exist_ok=True)
    home.store.mkdir(exist_ok=True)
    if not (home.keys / "root.json").exists():
        make_keys(home.keys, WORKSPACE, int(time.time()) + ROOT_LIFE_S)
    if not home.token.exists():
        home.token.touch(mode=0o600)
        home.token.write_text(secrets.token_urlsafe(TOKEN_BYTES) + "\n", "utf-8")
    addresses = {"edge": port, "admin": port + 1, "publisher": port + 2}
    addresses_text = json.dumps({name: f"http://127.0.0.1:{number}" for name, number in addresses.items()})
    home.addresses.write_text(addresses_text, "utf-8")
    root = json.loads((home.keys / "root.json").read_bytes())
    client = {"workspace": WORKSPACE, "edges": [f"http://127.0.0.1:{port}"], "root": root}
    home.client.write_text(json.dumps(client), "utf-8")


def _refuse_taken_ports(port: int) -> None:
    for number in (port, port + 1, port + 2):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                message = f"port {number} of 127.0.0.1 is taken: choose others with GRAYWAVE_PORT"
                raise CommandError(message, Exit.USAGE) from None


@contextmanager
def _run_redis(home: Home) -> Iterator[str]:
    try:
        server = PrivateRedis(home.redis)
        server.start()
    except EmbeddedRedisError as error:
        raise CommandError(f"no private Redis: {error}, or name one with GRAYWAVE_REDIS") from None
    try:
        yield server.url
    finally:
        server.stop()


def _set_publisher(home: Home, port: int, redis: str) -> dict[str, str]:
    settings = {
        "LISTEN": f"127.0.0.1:{port + 2}",
        "WORKSPACE": WORKSPACE,
        "REDIS": redis,
        "FOLDER": home.publisher,
        "ROOT": home.keys / "root.json",
        "OFFER_KEY": home.keys / "offer.key",
        "CHANNEL_KEY": home.keys / "channel.key",
        "TOKEN_FILE": home.token,
    }
    return {f"GRAYWAVE_PUBLISHER_{name}": str(value) for name, value in settings.items()}


def _set_edge(home: Home, port: int, redis: str) -> dict[str, str]:
    settings = {
        "LISTEN": f"127.0.0.1:{port}",
        "ADMIN": f"127.0.0.1:{port + 1}",
        "REDIS": redis,
        "DATA": home.edge,
        "STORE": home.store,
        "WORKSPACES": f"{WORKSPACE}={home.keys / 'root.json'}",
    }
    return {f"GRAYWAVE_EDGE_{name}": str(value) for name, value in settings.items()}


@contextmanager
def _run_server(name: str, settings: dict[str, str], home: Home) -> Iterator[None]:
    """Runs a server in a process group of its own, so that an interrupt reaches it through us, in order."""
    with (home.folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-m", "cli", name],
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, what: str, home: Home) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if ask("GET", url, allow=(HTTPStatus.SERVICE_UNAVAILABLE,)).status == HTTPStatus.OK:
                return
        except CommandError as error:
            if error.exit_code != Exit.UNREACHABLE:
                raise
        time.sleep(0.05)
    raise CommandError(f"{what} was not ready within {START_TIMEOUT_S:.0f} s: see the logs in {home.folder}")


def _say_ready(port: int, home: Home) -> None:
    url = f"http://127.0.0.1:{port}"
    data = "" if home.folder == Path("data") else f" --data {home.folder}"
    click.echo(f"ready {url}")
    click.echo("\nask as a phone would:")
    question = (FOLDER / "question.json").read_text("utf-8").strip()
    click.echo(f"  curl {url}/v1/check -H 'Content-Type: application/json' -d '{question}'")
    click.echo("\nchange a release, and see the answer change:")
    click.echo(f"  scripts/graywave demo{data}")
    sys.stdout.flush()
