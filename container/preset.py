"""Packages that a host app ships, so that it starts offline: their form, and what is believed of them.

A preset is a folder. It is believed as far as an edge is: by the signatures of package and offer. That an offer has
expired does not count, since it shipped with the app; that a newer one was seen does.

```
preset.json    what an edge has told: at most an install a program, with its offer; may hold keys of sealed packages
<sha256>       a transfer, whole packages alone
```
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bundle import BundleError, read_chunks, verify_bytes
from container.decision import Held, Plan, is_declined, is_stale, make_plan, rank, read_offer
from container.errors import ConfigError, StorageError, VerificationError
from container.wire import MAX_ANSWER_BYTES, MAX_PROGRAMS, Transfer, Update
from trust import Root

PRESET_NAME: Final = "preset.json"
# As large as an answer may be, which it was; a larger one is read at no start.
MAX_PRESET_BYTES: Final = MAX_ANSWER_BYTES
# A name that is no digest could lead out of the folder; \Z and not $, which lets a newline follow.
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    workspace: str
    updates: Annotated[tuple[Update, ...], Meta(min_length=1, max_length=MAX_PROGRAMS)]


@dataclass(frozen=True, slots=True)
class Preset:
    """What a host app ships in `folder`, of one workspace; none of it is believed yet."""

    folder: Path
    workspace: str
    updates: tuple[Update, ...]

    def find(self, transfer: Transfer) -> Path:
        """Returns the file of a transfer, once its bytes are known to be that transfer's.

        Raises:
            VerificationError: "transfer_refused": they are not.
            StorageError: there are none, or they cannot be read.
        """
        if not _SHA256.match(transfer.sha256):
            raise VerificationError(f"expected a sha256 to look for, got {transfer.sha256!r:.80}", "transfer_refused")
        path = self.folder / transfer.sha256
        try:
            for _ in verify_bytes(read_chunks(path), transfer.sha256, transfer.size, f"the transfer {path}"):
                pass
        except BundleError as error:
            raise VerificationError(f"preset: {error}", "transfer_refused") from error
        except OSError as error:
            raise StorageError(f"{path}: expected a file of the preset that can be read: {error.strerror}") from error
        return path


def read_preset(folder: Path) -> Preset:
    """Returns the preset in a folder.

    Raises:
        ConfigError: preset.json is absent, too large or malformed, or has a program twice: the app must ship another.
    """
    path = folder / PRESET_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PRESET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be read: {error.strerror}") from error
    if len(data) > MAX_PRESET_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_PRESET_BYTES} bytes, got more")
    try:
        form = msgspec.json.decode(data, type=_Form)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected a preset: {error}") from error
    programs = [update.program for update in form.updates]
    if len(set(programs)) < len(programs):
        raise ConfigError(f"{path}: expected each program once, got {programs!r:.200}")
    return Preset(folder, form.workspace, form.updates)


def plan_preset(update: Update, workspace: str, root: Root, held: Held) -> Plan | None:
    """Returns what to do with an update of a preset: an install of a whole package; None if it is not wanted any more.

    So it is where this or a later version is installed, where a later offer was seen (of a take-down, say), or where
    it did not come up here. The offer is judged as of when it was issued.

    Raises:
        VerificationError: "offer_refused", "package_refused" or "no_transfer": it is not to be believed.
    """
    offer = read_offer(update, workspace, root)
    if offer.action != "install":
        raise VerificationError(
            f"{update.program}: expected an install in a preset, got {offer.action}", "offer_refused"
        )
    is_there = rank(offer.version) <= rank(held.version)
    if is_there or is_stale(offer, held, root.epoch) or is_declined(offer, held):
        return None
    return make_plan(update, offer, root, Held(held.version, held.seen), offer.issued)


def encode_preset(workspace: str, updates: Iterable[Update]) -> bytes:
    """Returns preset.json: keep it where keys of sealed packages may be."""
    return msgspec.json.encode(_Form(1, workspace, tuple(updates))) + b"\n"
