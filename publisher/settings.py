"""What an operator may set of a publisher; reading files and environment is `settings`' work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from publisher.visit import check_base
from settings.address import split_address

PREFIX = "GRAYWAVE_PUBLISHER_"
SECTION = "publisher"
# Shorter ones can be guessed over the network.
MIN_TOKEN_CHARS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """A publisher's settings; either `token` or `token_file` has to be there."""

    workspace: str = field(metadata={"help": "The workspace that it publishes, the root's."})
    redis: str = field(metadata={"help": "Where Redis is, sentinels and clusters too: docs/redis.md.", "secret": True})
    folder: Path = field(metadata={"help": "The folder of its store, made where it does not exist."})
    root: Path = field(
        metadata={
            "help": "The newest root document; beside root.json, root.<n>.json are those between it and the last."
        }
    )
    offer_key: str = field(
        metadata={"help": "Address of the private key that signs offers: a path, env: or pkcs11:; several with commas."}
    )
    channel_key: str = field(metadata={"help": "Address of the private key that signs documents, heads and trials."})
    listen: str = field(default="127.0.0.1:8082", metadata={"help": "Address and port; port 0 takes a free one."})
    token: str = field(default="", metadata={"help": "What a control plane sends as its bearer token.", "secret": True})
    token_file: Path | None = field(default=None, metadata={"help": "A file that holds the token."})
    files: str = field(
        default="", metadata={"help": "Where devices get transfers whose url has no host: https://cdn.example."}
    )
    fingerprint_keys: Mapping[str, Path] = field(
        default_factory=dict, metadata={"help": "Files of the keys of audiences and windows, by the key's id."}
    )
    unchecked_files: bool = field(
        default=False, metadata={"help": "Publish without having fetched the files that a document names."}
    )
    offer_days: int = field(default=30, metadata={"help": "How long an offer lasts.", "min": 1, "max": 366})

    def __post_init__(self) -> None:
        """Refuses what each setting alone cannot show.

        Raises:
            ValueError: the listening address is none, there is not one token of at least MIN_TOKEN_CHARS, `files` is no
                address, or `offer_key` names none.
        """
        split_address(self.listen)
        if self.files:
            check_base(self.files)
        if not self.offer_keys:
            raise ValueError("expected offer_key to name at least one key, got none")
        if bool(self.token) == (self.token_file is not None):
            raise ValueError("expected either token or token_file, got both or neither")
        if self.token:
            check_token(self.token)

    @property
    def offer_keys(self) -> tuple[str, ...]:
        """The addresses of the offer keys."""
        return tuple(address.strip() for address in self.offer_key.split(",") if address.strip())


def check_token(token: str) -> None:
    """Returns if a token is long enough; raises ValueError, which does not show it."""
    if len(token) < MIN_TOKEN_CHARS:
        raise ValueError(f"expected a token of at least {MIN_TOKEN_CHARS} characters, got {len(token)}")
