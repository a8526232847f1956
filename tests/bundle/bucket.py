"""S3 servers for tests, which check signatures; a gate before them checks bodies, and plays network and CDN."""

import base64
import hashlib
import http.client
import itertools
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import urllib3
from botocore.config import Config

from tests.channel.servers import find_port
from tests.end_to_end.town import PATIENCE_S, eventually

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REGION: Final = "eu-test-1"
# An S3 server of another make, tried where it is there: `go install github.com/versity/versitygw/cmd/versitygw@latest`.
GATEWAY: Final = shutil.which("versitygw")
_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}],
}
# Headers of one connection, which are not passed on.
_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "server", "date"})


class Server:
    """A running S3 server, who may use it, and a client of theirs for what stores do not do.

    Args:
        endpoint: where it listens.
        access_key: who.
        secret_key: what they sign with.
    """

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint, self.access_key, self.secret_key = endpoint, access_key, secret_key
        self.client: S3Client = _connect("s3", endpoint, access_key, secret_key)
        self._numbers = itertools.count()

    def make_bucket(self) -> str:
        """Returns the name of a new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name


def _connect(service: str, endpoint: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


@contextmanager
def run_moto(folder: Path) -> Iterator[Server]:
    """Runs moto with one user who may use S3, and with its check of signatures switched on."""
    port = find_port()
    with _run([sys.executable, "-m", "moto.server", "-p", str(port)], folder, port):
        endpoint = f"http://127.0.0.1:{port}"
        iam = _connect("iam", endpoint, "anybody", "anything")
        iam.create_user(UserName="store")
        iam.put_user_policy(UserName="store", PolicyName="store", PolicyDocument=json.dumps(_POLICY))
        key = iam.create_access_key(UserName="store")["AccessKey"]
        check = {"body": b"0", "headers": {"Content-Type": "text/plain"}, "retries": False, "timeout": PATIENCE_S}
        assert urllib3.request("POST", f"{endpoint}/moto-api/reset-auth", **check).json()["status"] == "ok"
        yield Server(endpoint, key["AccessKeyId"], key["SecretAccessKey"])


@contextmanager
def run_gateway(folder: Path) -> Iterator[Server]:
    """Runs versitygw over a folder."""
    assert GATEWAY
    port, files = find_port(), folder / "files"
    files.mkdir()
    who = ["--access", "store", "--secret", "a-secret-of-the-tests", "--region", REGION]
    with _run([GATEWAY, "--port", f"127.0.0.1:{port}", *who, "posix", str(files)], folder, port):
        yield Server(f"http://127.0.0.1:{port}", "store", "a-secret-of-the-tests")


@contextmanager
def _run(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:

        def look() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(look)
        yield
    finally:
        process.kill()
        process.wait(PATIENCE_S)


@dataclass(slots=True)
class Message:
    """A request or an answer that passes the gate, and may be changed there.

    Args:
        line: method and target of a request; the status of an answer.
        headers: by lower-case name.
        body: whole.
    """

    line: str
    headers: dict[str, str]
    body: bytes


class Gate:
    """Stands before a server, lets tests change what passes, and refuses bodies that are not what their headers say.

    It is a CDN too: what comes without a signature is fetched with one. `spoil_request` changes a request, or answers
    it itself; `spoil_answer` changes an answer; `seen` has the method and the body's size of each request.

    Args:
        server: where requests go.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.spoil_request: Callable[[Message], Message | None] = lambda _: None
        self.spoil_answer: Callable[[Message, Message], None] = lambda _request, _answer: None
        self.seen: list[tuple[str, int]] = []
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = gate.answer(Message(f"{self.command} {self.path}", headers, body))
                self.send_response_only(int(answer.line))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True  # boto3 keeps connections open
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Ends the gate."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, request: Message) -> Message:
        """Returns what the client is answered."""
        self.seen.append((request.line.split(" ")[0], len(request.body)))
        answer = self.spoil_request(request) or self._refuse(request)
        if answer is None:
            answer = self._forward(request) if "authorization" in request.headers else self._fetch(request)
        if not request.line.startswith("HEAD"):
            answer.headers["content-length"] = str(len(answer.body))
        self.spoil_answer(request, answer)
        return answer

    def _refuse(self, request: Message) -> Message | None:
        """What S3 checks and moto does not: both digests of the body."""
        digest = hashlib.sha256(request.body)
        checksum = base64.b64encode(digest.digest()).decode()
        if request.headers.get("x-amz-checksum-sha256", checksum) != checksum:
            return make_error(400, "BadDigest")
        if request.headers.get("x-amz-content-sha256", digest.hexdigest()) != digest.hexdigest():
            return make_error(400, "XAmzContentSHA256Mismatch")
        return None

    def _forward(self, request: Message) -> Message:
        method, target = request.line.split(" ")
        upstream = http.client.HTTPConnection(self.server.endpoint.removeprefix("http://"), timeout=PATIENCE_S)
        try:
            upstream.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name not in {"content-length", "expect"}:
                    upstream.putheader(name, value)
            upstream.putheader("content-length", str(len(request.body)))
            upstream.endheaders(request.body)
            answer = upstream.getresponse()
            given = {name.lower(): value for name, value in answer.headers.items()}
            headers = {name: value for name, value in given.items() if name not in _HOP}
            if method == "HEAD":
                headers["content-length"] = given.get("content-length", "0")
            return Message(str(answer.status), headers, answer.read())
        finally:
            upstream.close()

    def _fetch(self, request: Message) -> Message:
        bucket, _, key = request.line.split(" ")[1].lstrip("/").partition("/")
        wanted = {"Range": request.headers["range"]} if "range" in request.headers else {}
        answer = self.server.client.get_object(Bucket=bucket, Key=key, **wanted)
        said = answer["ResponseMetadata"]
        headers = {name: value for name, value in said["HTTPHeaders"].items() if name not in _HOP}
        with answer["Body"] as body:
            return Message(str(said["HTTPStatusCode"]), headers, body.read())


def make_error(status: int, code: str, message: str = "no") -> Message:
    """Returns an answer that refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Message(str(status), {"content-type": "application/xml"}, body)
