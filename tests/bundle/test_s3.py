"""A store in a bucket, beside `test_store`: signatures, parts, faults of servers and networks, addresses."""

import base64
import hashlib
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import botocore.endpoint
import pytest
import urllib3

import bundle.s3
from bundle import Store, StoreError, TransferError, open_store
from bundle.s3 import CACHE_CONTROL, CONNECT_TIMEOUT_S, MAX_ATTEMPTS, PART_BYTES, Bucket, read_address
from tests.bundle.bucket import Message, make_error
from tests.bundle.conftest import Bucket as Place

HELLO = b"hello"
SHA256 = hashlib.sha256(HELLO).hexdigest()
PLACED = f"{SHA256[:2]}/{SHA256}"
SIZES = [100, PART_BYTES + 100]

MakeFile = Callable[[bytes], Path]


@pytest.fixture
def store(bucket: Place) -> Store:
    """The store in the bucket."""
    return open_store(bucket.address)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets boto3 try again at once; holds the pauses that it would have made."""
    pauses: list[float] = []
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


ASK: dict[str, Callable[[Store, Path], object]] = {
    "has": lambda store, _: store.has(SHA256),
    "put": lambda store, file: store.put(file),
    "read": lambda store, _: list(store.read(SHA256)),
    "remove": lambda store, _: store.remove(SHA256),
    "files": lambda store, _: list(store.files()),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_wrong_secret(
    bucket: Place, make_file: MakeFile, ask: Callable[[Store, Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server checks signatures; one by a wrong secret is refused, and the reason is told."""
    bucket.write(PLACED, HELLO)
    file = make_file(HELLO)
    ask(open_store(bucket.address), file)
    bucket.write(PLACED, HELLO)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{bucket.gate.server.secret_key[:-1]}?")
    with pytest.raises(StoreError) as caught:
        ask(open_store(bucket.address), file)
    assert str(caught.value).endswith(", got SignatureDoesNotMatch (status 403)")
    assert str(caught.value).startswith(f"s3://{bucket.name}/up/to at {bucket.gate.endpoint}: expected to ")
    assert bucket.names() == {PLACED}


def test_unknown_user(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key id that the server does not know is refused."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
    with pytest.raises(StoreError, match=r"expected to list the files, got (InvalidAccessKeyId|XAdminUserNotFound) "):
        list(open_store(bucket.address).files())


@pytest.mark.parametrize("place", ["message", "code"])
def test_error_that_repeats_credentials(bucket: Place, store: Store, place: str) -> None:
    """Whatever a server answers, it is not repeated, in the trace neither."""
    secret = bucket.gate.server.secret_key

    def refuse(_: Message) -> Message:
        return make_error(403, f"Bad {secret}" if place == "code" else "Bad", f"no {secret}")

    bucket.gate.spoil_request = refuse
    with pytest.raises(StoreError) as caught:
        list(store.files())
    said = "a refusal" if place == "code" else "Bad"
    assert str(caught.value).endswith(f": expected to list the files, got {said} (status 403)")
    assert secret not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("size", SIZES)
def test_bytes_that_change_on_the_way(bucket: Place, store: Store, make_file: MakeFile, size: int) -> None:
    """A body that a network has changed is refused by the server, and nothing of it stays."""

    def damage(request: Message) -> None:
        if request.line.startswith("PUT"):
            request.body = b"!" + request.body[1:]

    bucket.gate.spoil_request = damage
    with pytest.raises(StoreError, match=r"got (BadDigest|XAmzContentSHA256Mismatch) \(status 400\)"):
        store.put(make_file(bytes(size)))
    assert bucket.names() == set()


def forget_checksums(_: Message, answer: Message) -> None:
    """Answers as a server does that never heard of checksums."""
    answer.headers = {name: value for name, value in answer.headers.items() if "checksum" not in name}


@pytest.mark.parametrize("size", SIZES)
def test_server_without_checksums_is_read_back(bucket: Place, store: Store, make_file: MakeFile, size: int) -> None:
    """A server that does not say which SHA-256 it got is asked for the file."""
    file = make_file(bytes(size))
    store.put(file)
    assert ("GET", 0) not in bucket.gate.seen
    store.remove(hashlib.sha256(bytes(size)).hexdigest())
    bucket.gate.spoil_answer = forget_checksums
    store.put(file)
    assert bucket.gate.seen.count(("GET", 0)) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_silent", [True, False], ids=["no checksum", "another checksum"])
def test_server_that_keeps_other_bytes(
    bucket: Place, store: Store, make_file: MakeFile, size: int, *, is_silent: bool
) -> None:
    """What reads back as other bytes is removed again."""
    sha256 = hashlib.sha256(bytes(size)).hexdigest()
    lie = base64.b64encode(bytes(32)).decode()

    def corrupt(request: Message, answer: Message) -> None:
        sent = {name: value for name, value in answer.headers.items() if name == "x-amz-checksum-sha256"}
        forget_checksums(request, answer)
        if not is_silent:
            answer.headers |= dict.fromkeys(sent, lie)
        if request.line.startswith("GET"):
            answer.body = b"!" + answer.body[1:]

    bucket.gate.spoil_answer = corrupt
    with pytest.raises(TransferError, match=f"expected {sha256} in s3://{bucket.name}/up/to with sha256 {sha256}, got"):
        store.put(make_file(bytes(size)))
    assert bucket.names() == set()


def look_old(request: Message, answer: Message) -> None:
    """Answers as if a file had been put long ago."""
    if request.line.startswith("HEAD"):
        answer.headers["last-modified"] = formatdate(0, usegmt=True)


def test_old_file_of_another_size(bucket: Place, store: Store, make_file: MakeFile) -> None:
    """What is there and has another size is not marked as new, but put right."""
    bucket.write(PLACED, b"hell")
    bucket.gate.spoil_answer = look_old
    store.put(make_file(HELLO))
    assert b"".join(store.read(SHA256)) == HELLO


@pytest.mark.parametrize("size", SIZES)
def test_file_that_is_there_is_not_sent_again(bucket: Place, store: Store, make_file: MakeFile, size: int) -> None:
    """A file that is put again is marked as new within the server, with its headers; its bytes do not move."""
    file = make_file(bytes(size))
    sha256 = store.put(file)
    before = bucket.client.head_object(Bucket=bucket.name, Key=f"up/to/{sha256[:2]}/{sha256}")

    bucket.gate.spoil_answer = look_old
    bucket.gate.seen.clear()
    assert store.put(file) == sha256
    assert bucket.gate.seen == [("HEAD", 0), ("PUT", 0)]
    after = bucket.client.head_object(Bucket=bucket.name, Key=f"up/to/{sha256[:2]}/{sha256}")
    assert after["LastModified"] >= before["LastModified"]
    assert (after["ContentType"], after["CacheControl"]) == (before["ContentType"], before["CacheControl"])
    assert b"".join(store.read(sha256)) == bytes(size)


def test_server_that_does_not_mark_a_file(bucket: Place, store: Store, make_file: MakeFile) -> None:
    """Where a file stays as old as it was, it is sent again."""
    file = make_file(HELLO)
    store.put(file)

    def stay(request: Message, answer: Message) -> None:
        if request.line.startswith("HEAD"):
            answer.headers["last-modified"] = formatdate(2**33, usegmt=True)

    bucket.gate.spoil_answer = stay
    bucket.gate.seen.clear()
    store.put(file)
    assert bucket.gate.seen == [("HEAD", 0), ("PUT", 0), ("PUT", 5)]


def test_file_that_goes_as_it_is_put_again(bucket: Place, store: Store, make_file: MakeFile) -> None:
    """A file that is removed between two looks is sent."""
    store.put(make_file(HELLO))

    def remove(request: Message, _: Message) -> None:
        if request.line.startswith("HEAD"):
            bucket.client.delete_object(Bucket=bucket.name, Key=f"up/to/{PLACED}")

    bucket.gate.spoil_answer = remove
    store.put(make_file(HELLO))
    assert bucket.names() == {PLACED}


@pytest.mark.parametrize("wanted", ["partNumber=2", "uploadId="])
def test_upload_that_breaks_off(bucket: Place, store: Store, make_file: MakeFile, wanted: str) -> None:
    """Parts of a file that cannot be completed are forgotten by the server."""

    def refuse(request: Message) -> Message | None:
        is_meant = wanted in request.line and not request.line.startswith(
            ("DELETE", "PUT" if "=2" not in wanted else "-")
        )
        return make_error(403, "AccessDenied") if is_meant else None

    bucket.gate.spoil_request = refuse
    with pytest.raises(StoreError, match=r"expected to take .*, got AccessDenied \(status 403\)"):
        store.put(make_file(bytes(PART_BYTES + 1)))
    assert ("DELETE", 0) in bucket.gate.seen
    assert bucket.names() == set()


def test_busy_server_is_asked_again(bucket: Place, store: Store, make_file: MakeFile, no_pauses: list[float]) -> None:
    """A server that is busy for a moment holds nothing up for good; what was sent is sent again, whole."""
    refusals = [make_error(503, "SlowDown") for _ in range(MAX_ATTEMPTS - 1)]
    bucket.gate.spoil_request = lambda request: refusals.pop() if request.body and refusals else None
    store.put(make_file(HELLO))
    assert bucket.gate.seen.count(("PUT", 5)) == MAX_ATTEMPTS
    assert len(no_pauses) == MAX_ATTEMPTS - 1
    assert b"".join(store.read(SHA256)) == HELLO


@pytest.mark.usefixtures("no_pauses")
def test_server_that_stays_busy(bucket: Place, store: Store) -> None:
    """A server is asked a few times, and no more."""
    bucket.gate.spoil_request = lambda _: make_error(503, "SlowDown")
    with pytest.raises(StoreError, match=r"got SlowDown \(status 503\)"):
        list(store.files())
    assert len(bucket.gate.seen) == MAX_ATTEMPTS


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that takes connections, and says nothing."""
    monkeypatch.setattr(bundle.s3, "READ_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.usefixtures("bucket", "no_pauses")
def test_server_that_says_nothing(silent: str) -> None:
    """A server that is silent is given up."""
    store = open_store(f"s3://bucket?endpoint={silent}")
    config = store._client.meta.config
    assert (config.read_timeout, config.connect_timeout) == (0.05, CONNECT_TIMEOUT_S)
    with pytest.raises(StoreError) as caught:
        list(store.files())
    assert str(caught.value) == f"s3://bucket at {silent}: expected to list the files, got ReadTimeoutError"


@pytest.mark.usefixtures("bucket", "no_pauses")
def test_server_that_is_away() -> None:
    """A server that nobody reaches is named."""
    with pytest.raises(StoreError) as caught:
        open_store("s3://bucket/x?endpoint=http://127.0.0.1:1").has(SHA256)
    said = f"s3://bucket/x at http://127.0.0.1:1: expected to look at {SHA256}, got EndpointConnectionError"
    assert str(caught.value) == said


def test_content_that_breaks_off(bucket: Place, store: Store) -> None:
    """A connection that ends before the content is no end of the content."""
    bucket.write(PLACED, HELLO)

    def cut(_: Message, answer: Message) -> None:
        answer.body = answer.body[:3]
        answer.headers["connection"] = "close"

    bucket.gate.spoil_answer = cut
    with pytest.raises(StoreError, match=f"expected to read {SHA256}, got (ResponseStreaming|IncompleteRead)Error"):
        list(store.read(SHA256))


@pytest.mark.parametrize(
    ("ask", "said"),
    [("has", "an answer that is none of S3's"), ("read", "an answer that is none of S3's"), ("files", "500 .*")],
)
@pytest.mark.usefixtures("no_pauses")
def test_server_of_another_kind(bucket: Place, store: Store, ask: str, said: str) -> None:
    """A web server that is no S3 is told from one; boto3 takes what is no XML for a failure of the server."""

    def speak(request: Message) -> Message:
        body = b"<html><p>hello"
        length = {"content-length": str(len(body))} if request.line.startswith("HEAD") else {}
        return Message("200", {"content-type": "text/html", **length}, body)

    def stay_vague(_: Message, answer: Message) -> None:
        if ask == "read":
            answer.headers = {"connection": "close"}

    bucket.gate.spoil_request, bucket.gate.spoil_answer = speak, stay_vague
    with pytest.raises(StoreError, match=f"got {said}$"):
        ASK[ask](store, Path())


@pytest.mark.parametrize("status", ["301", "307"])
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_server_that_sends_elsewhere(
    bucket: Place, store: Store, make_file: MakeFile, ask: Callable[[Store, Path], object], status: str
) -> None:
    """A server that wants TLS and is asked without it redirects; boto3 would ask it where to go instead, for ever."""
    headers = {"location": "https://elsewhere.example/", "content-length": "0"}
    bucket.gate.spoil_request = lambda _: Message(status, headers, b"")
    with pytest.raises(StoreError, match=r"got a redirect: see to endpoint= \(https\?\) and region=$"):
        ask(store, make_file(HELLO))


def test_time_that_is_none(bucket: Place, store: Store) -> None:
    """An answer that boto3 cannot read is the server's fault."""
    bucket.write(PLACED, HELLO)
    bucket.gate.spoil_answer = lambda _, answer: answer.headers.update({"last-modified": "yesterday"})
    with pytest.raises(StoreError, match=r"got an answer that is none of S3's$"):
        store.has(SHA256)


def test_bucket_that_is_not_there(bucket: Place, make_file: MakeFile) -> None:
    """A bucket that there is none has no file, and takes none."""
    store = open_store(bucket.address.replace(bucket.name, "no-such-bucket"))
    assert not store.has(SHA256)
    for ask in (lambda: list(store.files()), lambda: store.put(make_file(HELLO)), lambda: list(store.read(SHA256))):
        with pytest.raises(StoreError, match=r"got NoSuchBucket \(status 404\)"):
            ask()


def test_more_files_than_a_page(bucket: Place, store: Store) -> None:
    """A listing goes on over pages, of 1,000 keys each, and not beyond the prefix."""
    names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(1001)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: bucket.write(f"{name[:2]}/{name}", b""), names))
    bucket.write(f"../tomorrow/{PLACED}".replace("../to", "x/to"), HELLO)
    bucket.client.put_object(Bucket=bucket.name, Key=f"up/tomorrow/{PLACED}", Body=b"")
    assert sorted(file.sha256 for file in store.files()) == sorted(names)
    assert list(store.strangers()) == [f"x/tomorrow/{PLACED}"]


@pytest.mark.parametrize("size", SIZES)
def test_what_devices_fetch(bucket: Place, store: Store, make_file: MakeFile, size: int) -> None:
    """Through the public address a file comes as bytes that no cache asks for again, in ranges too."""
    content = bytes(range(100)) + bytes(size - 100)
    url = store.url(store.put(make_file(content)))
    assert url == f"{bucket.public}/up/to/{url[-64:-62]}/{url[-64:]}"
    with urllib3.PoolManager() as pool:
        whole = pool.request("GET", url, retries=False)
        rest = pool.request("GET", url, headers={"Range": "bytes=40-"}, retries=False)
    assert (whole.status, whole.data) == (200, content)
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert whole.headers["Cache-Control"] == CACHE_CONTROL == "public, max-age=31536000, immutable"
    assert (rest.status, rest.data) == (206, content[40:])
    assert rest.headers["Content-Range"] == f"bytes 40-{size - 1}/{size}"
    assert rest.headers["ETag"] == whole.headers["ETag"]


def test_bucket_without_prefix_or_public_address(bucket: Place, make_file: MakeFile) -> None:
    """Without a prefix keys begin at the bucket's root; without a public address nobody can be told where to fetch."""
    store = open_store(bucket.address.replace("/up/to", "").partition("&public")[0])
    store.put(make_file(HELLO))
    assert [file.sha256 for file in store.files()] == [SHA256]
    assert bucket.names() == {PLACED}
    with pytest.raises(StoreError) as caught:
        store.url(SHA256)
    said = f"s3://{bucket.name}: expected public=ADDRESS, where devices fetch files, in its address"
    assert str(caught.value) == said


def test_nobody_to_be(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where boto3 finds no credentials, that is said."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match=r"got (NoCredentialsError|PartialCredentialsError)"):
        list(open_store(bucket.address).files())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_PROFILE", "nobody", "ProfileNotFound"),
        ("AWS_ENDPOINT_URL", "no address", "an endpoint that is none"),
        ("AWS_DEFAULT_REGION", "no region", "InvalidRegionError"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_settings_that_boto3_refuses(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with boto3's own settings is told as the store's error."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError) as caught:
        open_store("s3://bucket")
    assert str(caught.value) == f"s3://bucket: expected to open the store, got {said}"


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("s3://bucket", Bucket("bucket")),
        ("s3://my.bucket-1/", Bucket("my.bucket-1")),
        ("s3://bucket/wallet/prod/", Bucket("bucket", "wallet/prod")),
        ("s3://bucket?region=eu-central-1", Bucket("bucket", region="eu-central-1")),
        (
            "s3://bucket/a?public=https://cdn.example/&endpoint=http://127.0.0.1:9000/s3",
            Bucket("bucket", "a", "http://127.0.0.1:9000/s3", None, "https://cdn.example"),
        ),
        ("s3://bucket?endpoint=https%3A%2F%2Fs3.example", Bucket("bucket", endpoint="https://s3.example")),
    ],
)  # fmt: skip
def test_address(address: str, bucket: Bucket) -> None:
    """An address names bucket, prefix, endpoint, region and public address."""
    assert read_address(address) == bucket


WRONG_PLACE = "expected s3://bucket/prefix without # and @: credentials come from the environment"
WRONG_BUCKET = "expected a bucket of 3 to 63 small letters, digits, dots and hyphens after s3://"
WRONG_PREFIX = "expected a prefix of letters, digits, '.', '_', '-' between slashes in s3://bucket"
WRONG_OPTION = "expected of endpoint, region, public each at most once, as name=value, in s3://bucket"
WRONG_BASE = "expected {}=ADDRESS with http:// or https://, a host, and no user, query or fragment"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://AKIA:hunter2@bucket", WRONG_PLACE),
        ("s3://bucket/a#hunter2", WRONG_PLACE),
        ("s3://", WRONG_BUCKET),
        ("s3:///hunter2", WRONG_BUCKET),
        ("s3://ab", WRONG_BUCKET),
        ("s3://Bucket", WRONG_BUCKET),
        ("s3://bucket:80", WRONG_BUCKET),
        ("s3://-bucket", WRONG_BUCKET),
        (f"s3://{'a' * 64}", WRONG_BUCKET),
        ("s3://[::1", "expected s3://bucket/prefix?endpoint=URL&region=NAME&public=URL, got no address"),
        ("s3://bucket/a//b", WRONG_PREFIX),
        ("s3://bucket/a/../b", WRONG_PREFIX),
        ("s3://bucket/./b", WRONG_PREFIX),
        ("s3://bucket/a b", WRONG_PREFIX),
        ("s3://bucket/a%20b", WRONG_PREFIX),
        ("s3://bucket/ä", WRONG_PREFIX),
        ("s3://bucket?secret=hunter2", WRONG_OPTION),
        ("s3://bucket?hunter2", WRONG_OPTION),
        ("s3://bucket?region=", WRONG_OPTION),
        ("s3://bucket?region=a&region=b", WRONG_OPTION),
        ("s3://bucket?a=1&b=2&c=3&d=4", WRONG_OPTION),
        ("s3://bucket?region=Hunter2", "expected region=NAME such as eu-central-1 in s3://bucket"),
        ("s3://bucket?endpoint=localhost:9000", WRONG_BASE.format("endpoint")),
        ("s3://bucket?endpoint=https://", WRONG_BASE.format("endpoint")),
        ("s3://bucket?endpoint=https://me:hunter2@host", WRONG_BASE.format("endpoint")),
        ("s3://bucket?public=/v1/files", WRONG_BASE.format("public")),
        ("s3://bucket?public=ftp://host", WRONG_BASE.format("public")),
        ("s3://bucket?public=https://ho%20st", WRONG_BASE.format("public")),
        ("s3://bucket?public=https://host%0a", WRONG_BASE.format("public")),
        ("s3://bucket?public=https://host/?hunter2", WRONG_BASE.format("public")),
        ("s3://bucket?public=https://host/%23hunter2", WRONG_BASE.format("public")),
    ],
)
def test_address_that_is_none(address: str, message: str) -> None:
    """What is no address is refused, and what may be a secret in the wrong place is not repeated."""
    with pytest.raises(StoreError) as caught:
        open_store(address)
    assert str(caught.value) == message


def test_addresses_of_the_page() -> None:
    """The addresses that docs/store.md shows are addresses."""
    text = (Path(__file__).parents[2] / "docs/store.md").read_text("utf-8")
    found = re.findall(r"s3://[^\s'`]+", text)
    assert len(found) == 3
    assert [read_address(address).name for address in found] == ["packages"] * 3
