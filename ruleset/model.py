"""The words of a program document and of a device, as typed values: shape only, no rule is decided here.

Field by field the same as `contract/document.md`; msgspec decodes into these and names the JSON path of what does not
fit. What one member alone cannot show (a package that does not exist, an empty range) is the compiler's to refuse.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

# Each bound keeps one document, or one device, from taking the memory or the time of all others.
MAX_STRING = 256
MAX_RELEASES = 100
MAX_PACKAGES = 200
MAX_TRANSFERS = 16
MAX_CONDITIONS = 32
MAX_VALUES = 1_000
MAX_INLINE_USERS = 1_000
MAX_AUDIENCES = 16
MAX_STEPS = 32
MAX_TRIALS = 16
# A window keeps its members for ever, 8 bytes each in Redis and on every host.
MAX_PLACES = 10_000_000
MAX_TAGS = 64
MAX_POLL_AFTER_S = 86_400
MAX_URL = 2_048
MAX_TOKEN = 8_192
# An age secret key has 74 characters.
MAX_SEAL_KEY = 256
# A tar of 200 MiB and its transfer; a signed claim may not promise more.
MAX_SIZE = 1 << 30
MAX_TIME = 1 << 40
MAX_COUNTER = 1 << 53

DEFAULT_POLL_AFTER_S = 1_800

Text = Annotated[str, Meta(min_length=1, max_length=MAX_STRING)]
Said = Annotated[str, Meta(max_length=MAX_STRING)]
ShortText = Annotated[str, Meta(min_length=1, max_length=64)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Time = Annotated[int, Meta(ge=0, lt=MAX_TIME)]
Size = Annotated[int, Meta(ge=0, le=MAX_SIZE)]
PollAfter = Annotated[int, Meta(ge=0, le=MAX_POLL_AFTER_S)]
Counter = Annotated[int, Meta(ge=0, lt=MAX_COUNTER)]
Url = Annotated[str, Meta(min_length=1, max_length=MAX_URL)]
Token = Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN)]
Parts = Annotated[int, Meta(ge=0, le=1_000_000)]
# A name that is a document's id: see `channel/keys.py`.
AudienceName = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
KeyName = Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9-]{0,31})?\Z")]
Platform = Literal["android", "ios", "harmony"]
Network = Literal["wifi", "2g", "3g", "4g", "5g", "cellular", "other"]
Op = Literal["in", "not_in", "contains", "prefix", "between", "outside"]
State = Literal["live", "paused", "ended"]
Urgency = Literal["silent", "prompt", "force"]


class Device(Struct, frozen=True, gc=False):
    """What a device says of itself. An empty text is as good as an absent one; unknown members are ignored."""

    id: Text
    platform: Platform
    user: Said | None = None
    os: Said | None = None
    app: Said | None = None
    manufacturer: Said | None = None
    model: Said | None = None
    network: Network | None = None
    city: Said | None = None
    region: Said | None = None
    country: Said | None = None
    locale: Said | None = None
    tags: Annotated[dict[Said, Said], Meta(max_length=MAX_TAGS)] | None = None


class Transfer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to get a package: the whole of it (`zstd`), or the difference from another version (`dcz`)."""

    format: Literal["zstd", "dcz"]
    url: Url
    size: Size
    sha256: Digest
    base: Annotated[str, Meta(max_length=64)] = field(default="", name="from")
    from_sha256: Annotated[str, Meta(max_length=64)] = ""


class Package(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of a program: the hash and size of its tar, who signed it, and how to get it.

    Where `key` is not empty the transfers are sealed, and it opens them: it is told to devices, and shown nowhere.
    """

    sha256: Digest
    size: Size
    signature: Token
    transfers: Annotated[list[Transfer], Meta(min_length=1, max_length=MAX_TRANSFERS)]
    permissions: dict[str, Any] = {}
    download: Literal["wifi", "any"] = "any"
    install: Literal["open", "preload"] = "open"
    extra: dict[str, Any] = {}
    key: Annotated[str, Meta(max_length=MAX_SEAL_KEY)] = ""

    def __repr__(self) -> str:
        return f"Package(sha256={self.sha256!r}, size={self.size})"


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    """One condition of a release's *when*."""

    attribute: Text
    op: Op
    values: Annotated[list[Text], Meta(min_length=1, max_length=MAX_VALUES)]


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """From this second on a percentage has these parts."""

    at: Time
    parts: Parts


class Percent(Struct, frozen=True, forbid_unknown_fields=True):
    """A percentage in parts of a million, which `steps` raise by themselves; the publisher fills an absent salt."""

    parts: Parts
    by: Literal["device", "user"] = "device"
    salt: Annotated[str, Meta(max_length=64)] = ""
    steps: Annotated[list[Step], Meta(max_length=MAX_STEPS)] = []


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """At most `limit` devices, or proven users, until a closing time; who is in stays.

    The publisher fills `id`, under which the members are kept, and `key`, the fingerprint key that hides them.
    """

    limit: Annotated[int, Meta(ge=1, le=MAX_PLACES)]
    closes_at: Time
    opens_at: Time = 0
    per_minute: Annotated[int, Meta(ge=1, le=MAX_PLACES)] | None = None
    proven: bool = False
    id: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?\Z")] = ""
    key: KeyName = ""


class Who(Struct, frozen=True, forbid_unknown_fields=True):
    """Any of these admits a device; the window is asked last."""

    users: Annotated[list[Text], Meta(min_length=1, max_length=MAX_INLINE_USERS)] | None = None
    percent: Percent | None = None
    audiences: Annotated[list[AudienceName], Meta(min_length=1, max_length=MAX_AUDIENCES)] | None = None
    window: Window | None = None


class ClientRange(Struct, frozen=True, forbid_unknown_fields=True):
    """The host-app versions of one platform, both ends inclusive, an absent end open."""

    min: Text | None = None
    max: Text | None = None


class Rollback(Struct, frozen=True, forbid_unknown_fields=True):
    """The versions that this release takes back to its own, lower one."""

    versions: Annotated[list[Text], Meta(min_length=1, max_length=MAX_PACKAGES)] = field(name="from")


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """A decision: this package goes to *who*, *when* conditions hold."""

    id: ShortText
    package: Text
    state: State = "live"
    who: Who | None = None
    when: Annotated[list[Condition], Meta(max_length=MAX_CONDITIONS)] = []
    clients: dict[Platform, ClientRange] | None = None
    opens_at: Time | None = None
    closes_at: Time | None = None
    urgency: Urgency = "silent"
    rollback: Rollback | None = None
    continues: ShortText | None = None


class Urgent(Struct, frozen=True, forbid_unknown_fields=True):
    """Until that second devices ask again this soon, if that is sooner than they else would; then as before."""

    poll_after: PollAfter
    until: Time


class Offers(Struct, frozen=True, forbid_unknown_fields=True):
    """The publisher's signed claims, all of one moment: by package version, and one for a take-down."""

    expires: Time
    install: dict[Text, Token] = {}
    rollback: dict[Text, Token] = {}
    remove: Annotated[str, Meta(max_length=MAX_TOKEN)] = ""


class Program(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A program document. The last four members are the publisher's; an author's document has none of them.

    `floor` is the version below which devices may not open the program; empty where there is none. `trials` are the
    versions that trial tokens may give.
    """

    format: Literal[1]
    program: Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]
    packages: Annotated[dict[Text, Package], Meta(max_length=MAX_PACKAGES)]
    releases: Annotated[list[Release], Meta(max_length=MAX_RELEASES)]
    poll_after: PollAfter = DEFAULT_POLL_AFTER_S
    urgent: Urgent | None = None
    taken_down: bool = False
    floor: Annotated[str, Meta(max_length=23)] = ""
    trials: Annotated[list[Text], Meta(max_length=MAX_TRIALS)] = []
    workspace: Annotated[str, Meta(max_length=64)] = ""
    epoch: Counter = 0
    revision: Counter = 0
    offers: Offers | None = None
