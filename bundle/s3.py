"""Transfers in a bucket of an S3-compatible store, through boto3, whose errors and credentials stay in this module.

1. A file has the key `<prefix>/<first two hex digits>/<sha256>`.
2. It is sent in parts of at most PART_BYTES, each with its SHA-256, and hashed as it is sent: parts become a file only
   when all of them are there and the whole has the digest that names it.
3. A server that does not say with which SHA-256 it has taken the bytes is asked for them again, and they are compared.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from bundle.errors import BundleError, StoreError
from bundle.file import CHUNK_BYTES, read_chunks
from bundle.store import StoredFile, is_placed, place_file
from bundle.transfer import Digest, measure_file, verify_bytes

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

# What is held in memory of a file under way; S3 wants at least 5 MiB of all parts but the last.
PART_BYTES: Final = 8 * 1024 * 1024
# A store that is away, or accepts and says nothing, holds a command up for about (5 + 30) * 4 seconds at worst.
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
MAX_ATTEMPTS: Final = 4
CONTENT_TYPE: Final = "application/octet-stream"
# A file never changes under its name: no cache between the bucket and a device needs to ask again.
CACHE_CONTROL: Final = "public, max-age=31536000, immutable"

_OPTIONS: Final = ("endpoint", "region", "public")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
# Names that are the same in a key and in an address, so that nothing has to be quoted anywhere.
_PREFIX = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?\Z")
_REGION = re.compile(r"[a-z0-9-]{1,40}\Z")
_BASE = re.compile(r"https?://[!-~]+\Z")
# What a server names its error; anything else it says may hold what it was sent, and is not repeated.
_CODE = re.compile(r"[A-Za-z0-9.]{1,60}\Z")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Which files of which bucket, and where it is.

    Args:
        name: of the bucket.
        prefix: of all keys, without a slash at the ends; empty for none.
        endpoint: base address of the S3 API; None for Amazon's own.
        region: where the bucket is; None for what boto3 finds.
        public: base address under which devices fetch keys; empty where it is not known.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    public: str = ""

    @property
    def root(self) -> str:
        """What all keys begin with."""
        return f"{self.prefix}/" if self.prefix else ""

    def __str__(self) -> str:
        """Returns the bucket and prefix, as an address has them."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def describe(self) -> str:
        """Returns the bucket, the prefix and the endpoint, for messages."""
        return f"{self} at {self.endpoint}" if self.endpoint else str(self)


def read_address(address: str) -> Bucket:
    """Returns what an address `s3://bucket/prefix?endpoint=URL&region=NAME&public=URL` names.

    Raises:
        StoreError: it is none. The message repeats no part that may be a secret put in the wrong place.
    """
    split = _split(address)
    if split.fragment or "@" in split.netloc:
        raise StoreError("expected s3://bucket/prefix without # and @: credentials come from the environment")
    prefix = split.path.strip("/")
    if not _BUCKET.match(split.netloc):
        raise StoreError("expected a bucket of 3 to 63 small letters, digits, dots and hyphens after s3://")
    if not _PREFIX.match(prefix):
        raise StoreError(f"expected a prefix of letters, digits, '.', '_', '-' between slashes in s3://{split.netloc}")
    given = _read_options(split)
    region = given.get("region")
    if region is not None and not _REGION.match(region):
        raise StoreError(f"expected region=NAME such as eu-central-1 in s3://{split.netloc}")
    public = _read_base(given, "public") or ""
    return Bucket(split.netloc, prefix, _read_base(given, "endpoint"), region, public)


def open_s3(address: str) -> "S3Store":
    """Returns the store at an address (see `read_address`), with credentials as boto3 finds them.

    Raises:
        StoreError: the address is none, or what boto3 reads (a profile, a region) is broken.
    """
    bucket = read_address(address)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        # Else boto3 sends checksums of its own in trailers, which many S3-compatible stores cannot read.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Through TLS too the body is signed, so that every store checks its SHA-256.
        s3={"payload_signing_enabled": True},
    )
    try:
        client = boto3.session.Session().client(
            "s3", endpoint_url=bucket.endpoint, region_name=bucket.region, config=config
        )
    except BotoCoreError as error:
        raise _refuse(bucket, "open the store", type(error).__name__) from None
    except ValueError:  # which a profile or the environment names
        raise _refuse(bucket, "open the store", "an endpoint that is none") from None
    return S3Store(bucket, client)


class S3Store:
    """A store in a bucket.

    Args:
        bucket: which one.
        client: boto3's, with its timeouts and credentials.
    """

    def __init__(self, bucket: Bucket, client: "S3Client") -> None:
        self._bucket, self._client = bucket, client

    def find(self, sha256: str) -> StoredFile | None:
        """See `Store.find`."""
        key = self._key(sha256)
        with self._asking(f"look at {sha256}"):
            try:
                head = self._client.head_object(Bucket=self._bucket.name, Key=key)
            except ClientError as error:
                if _read_status(error) == HTTPStatus.NOT_FOUND:
                    return None
                self._ask_why(key)
                raise
            return StoredFile(sha256, head["ContentLength"], int(head["LastModified"].timestamp()))

    def _ask_why(self, key: str) -> None:
        """Has the server say what is wrong, which it cannot in its answer to HEAD."""
        self._client.get_object(Bucket=self._bucket.name, Key=key)["Body"].close()

    def has(self, sha256: str) -> bool:
        """See `Store.has`."""
        return self.find(sha256) is not None

    def put(self, file: Path) -> str:
        """See `Store.put`."""
        try:
            digest = measure_file(file)
            found = self.find(digest.sha256)
            if found is None or found.size != digest.size or not self._touch(found):
                self._send(file, digest)
        except OSError as error:
            raise StoreError(f"{file}: expected to copy it to {self._bucket}: {error.strerror}") from error
        return digest.sha256

    def _touch(self, found: StoredFile) -> bool:
        """Puts a file onto itself, within the server; returns whether it is there and marked as put now."""
        key = self._key(found.sha256)
        with self._asking(f"mark {found.sha256} as put now"):
            try:
                answer = self._client.copy_object(
                    Bucket=self._bucket.name,
                    Key=key,
                    CopySource={"Bucket": self._bucket.name, "Key": key},
                    MetadataDirective="REPLACE",
                    ContentType=CONTENT_TYPE,
                    CacheControl=CACHE_CONTROL,
                )
            except ClientError as error:
                if _read_status(error) == HTTPStatus.NOT_FOUND:  # removed since
                    return False
                raise
            # Some servers leave the time as it was: there, the file is sent again.
            return int(answer["CopyObjectResult"]["LastModified"].timestamp()) > found.stored_at

    def _send(self, file: Path, digest: Digest) -> None:
        """Rules 2 and 3."""
        parts = _join(verify_bytes(read_chunks(file), digest.sha256, digest.size, str(file)))
        send = self._send_whole if digest.size <= PART_BYTES else self._send_parts
        with self._asking(f"take {file}"):
            is_checked = send(self._key(digest.sha256), parts)
        if not is_checked:
            self._read_back(digest.sha256)

    def _send_whole(self, key: str, parts: Iterable[bytes]) -> bool:
        content = b"".join(parts)
        checksum = _compute_checksum(content)
        answer = self._client.put_object(
            Bucket=self._bucket.name,
            Key=key,
            Body=content,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
            ContentType=CONTENT_TYPE,
            CacheControl=CACHE_CONTROL,
        )
        return answer.get("ChecksumSHA256") == checksum

    def _send_parts(self, key: str, parts: Iterable[bytes]) -> bool:
        """Sends a file in parts; one that fails is forgotten by the server, with all of them."""
        upload = self._client.create_multipart_upload(
            Bucket=self._bucket.name,
            Key=key,
            ChecksumAlgorithm="SHA256",
            ContentType=CONTENT_TYPE,
            CacheControl=CACHE_CONTROL,
        )["UploadId"]
        try:
            sent = [self._send_part(key, upload, number, part) for number, part in enumerate(parts, 1)]
            self._client.complete_multipart_upload(
                Bucket=self._bucket.name,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": [part for part, _ in sent]},
            )
        except BaseException:
            with suppress(ClientError, BotoCoreError):  # what is left is the lifecycle rule's, see docs/store.md
                self._client.abort_multipart_upload(Bucket=self._bucket.name, Key=key, UploadId=upload)
            raise
        return all(is_checked for _, is_checked in sent)

    def _send_part(self, key: str, upload: str, number: int, part: bytes) -> "tuple[CompletedPartTypeDef, bool]":
        checksum = _compute_checksum(part)
        answer = self._client.upload_part(
            Bucket=self._bucket.name,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=part,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
        )
        is_checked = answer.get("ChecksumSHA256") == checksum
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}, is_checked

    def _read_back(self, sha256: str) -> None:
        try:
            for _ in self.read(sha256):
                pass
        except BundleError:
            with suppress(StoreError):
                self.remove(sha256)
            raise

    def read(self, sha256: str) -> Iterator[bytes]:
        """See `Store.read`."""
        key = self._key(sha256)
        with self._asking(f"read {sha256}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket.name, Key=key)
            except self._client.exceptions.NoSuchKey:
                raise StoreError(f"{self._bucket}: expected the file {sha256}, got none") from None
            with closing(answer["Body"]) as body:
                chunks = body.iter_chunks(CHUNK_BYTES)
                yield from verify_bytes(chunks, sha256, answer["ContentLength"], f"{sha256} in {self._bucket}")

    def url(self, sha256: str) -> str:
        """Returns the address of the file below the public one; StoreError where the store was opened without."""
        if not self._bucket.public:
            raise StoreError(f"{self._bucket}: expected public=ADDRESS, where devices fetch files, in its address")
        return f"{self._bucket.public}/{self._key(sha256)}"

    def remove(self, sha256: str) -> None:
        """See `Store.remove`."""
        key = self._key(sha256)
        with self._asking(f"remove {sha256}"):
            self._client.delete_object(Bucket=self._bucket.name, Key=key)

    def files(self) -> Iterator[StoredFile]:
        """See `Store.files`."""
        for place, size, stored_at in self._list():
            if is_placed(place):
                yield StoredFile(place.rpartition("/")[2], size, stored_at)

    def strangers(self) -> Iterator[str]:
        """See `Store.strangers`."""
        yield from (place for place, _, _ in self._list() if not is_placed(place))

    def _list(self) -> Iterator[tuple[str, int, int]]:
        """Yields what is below the root: where, size, and when it was put."""
        root = self._bucket.root
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket.name, Prefix=root)
        with self._asking("list the files"):
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(root), item["Size"], int(item["LastModified"].timestamp())

    def _key(self, sha256: str) -> str:
        return self._bucket.root + place_file(sha256)

    def _asking(self, what: str) -> AbstractContextManager[None]:
        return _translate(self._bucket, what)


@contextmanager
def _translate(bucket: Bucket, what: str) -> Iterator[None]:
    """Raises StoreError for what boto3 raises, with its kind alone: its words may hold what was sent."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        reason = f"{code if _CODE.match(code) else 'a refusal'} (status {_read_status(error)})"
        raise _refuse(bucket, what, reason) from None
    except BotoCoreError as error:
        raise _refuse(bucket, what, type(error).__name__) from None
    except (ResponseParserError, KeyError, ValueError):  # also a member that is not there, or no time
        raise _refuse(bucket, what, "an answer that is none of S3's") from None
    except RecursionError:  # boto3 asks where to go instead, is sent away again, and asks
        raise _refuse(bucket, what, "a redirect: see to endpoint= (https?) and region=") from None


def _refuse(bucket: Bucket, what: str, reason: str) -> StoreError:
    return StoreError(f"{bucket.describe()}: expected to {what}, got {reason}")


def _read_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _join(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the chunks joined to parts of PART_BYTES, and the rest."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        if len(held) >= PART_BYTES:
            with memoryview(held) as view, view[:PART_BYTES] as head:  # a slice of `held` would be one more copy
                part = bytes(head)
            del held[:PART_BYTES]
            yield part
    if held:
        yield bytes(held)


def _compute_checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        raise StoreError("expected s3://bucket/prefix?endpoint=URL&region=NAME&public=URL, got no address") from None


def _read_options(split: SplitResult) -> dict[str, str]:
    """Returns the options of an address; a value that is empty, or given twice, is refused as an unknown name is."""
    try:
        given = parse_qsl(split.query, keep_blank_values=True, strict_parsing=True) if split.query else []
    except ValueError:
        given = [("", "")]
    names = [name for name, value in given if name in _OPTIONS and value]
    if len(names) != len(given) or len(set(names)) != len(given):
        raise StoreError(f"expected of {', '.join(_OPTIONS)} each at most once, as name=value, in s3://{split.netloc}")
    return dict(given)


def _read_base(given: dict[str, str], name: str) -> str | None:
    if name not in given:
        return None
    base = _split(given[name])
    if not _BASE.match(given[name]) or not base.hostname or "@" in base.netloc or base.query or base.fragment:
        raise StoreError(f"expected {name}=ADDRESS with http:// or https://, a host, and no user, query or fragment")
    return given[name].rstrip("/")
