"""The root document: which keys stand for which role, as a threshold of root keys says; whence it comes is not known.

A root is a JWS in the general JSON serialization (RFC 7515, section 7.2.1). The first one is pinned by the caller.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from trust import jws
from trust.claim import Count, Positive, Workspace
from trust.errors import KeyFormatError, RootError, SignatureError, UnknownKeyError
from trust.key import PublicKey, Signer
from trust.role import ROLES, Role

ROOT_TYPE = "graywave-root"
# Room for every key and signature below; a larger one wants memory and parser time.
MAX_ROOT_BYTES = 64 * 1024
# Each costs a verification (58 microseconds): a document full of signatures would keep a device busy.
MAX_SIGNATURES = 32
MAX_KEYS_A_ROLE = 16


@dataclass(frozen=True, slots=True)
class Root:
    """A root that its own keys have signed; `number` counts up, `expires` is in seconds since 1970.

    `epoch` is the one that the workspace publishes in: whatever is of a later one, this root does not vouch for.
    """

    workspace: str
    number: int
    expires: int
    roles: Mapping[str, Role]
    epoch: int = 1

    def role(self, name: str) -> Role:
        """Returns keys and threshold of a role; KeyError for one that is none of ROLES."""
        return self.roles[name]

    def keys(self, role: str) -> Mapping[str, PublicKey]:
        """Returns the keys of a role by kid; KeyError for a role that is none of ROLES."""
        return self.roles[role].keys


class _RoleForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    threshold: Annotated[int, Meta(ge=1, le=MAX_KEYS_A_ROLE)]
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1, max_length=MAX_KEYS_A_ROLE)]


class _RolesForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: _RoleForm
    package: _RoleForm
    offer: _RoleForm
    channel: _RoleForm


class _RootForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    workspace: Workspace
    number: Positive
    expires: Count
    roles: _RolesForm
    epoch: Positive = 1


class _SignatureForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    protected: str
    signature: str


class _DocumentForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    signatures: Annotated[tuple[_SignatureForm, ...], Meta(max_length=MAX_SIGNATURES)]


def make_root(
    workspace: str,
    number: int,
    expires: int,
    roles: Mapping[str, Sequence[PublicKey]],
    signers: Sequence[Signer],
    *,
    thresholds: Mapping[str, int] = MappingProxyType({}),
    epoch: int = 1,
) -> bytes:
    """Returns a root document as JSON text; a role's threshold is 1 where `thresholds` does not say more.

    Raises:
        RootError: the document would not be believed: roles, thresholds, number, expiry or signers do not do.
    """
    if not signers:
        raise RootError("expected at least one key to sign the root, got none")
    document = draft_root(workspace, number, expires, roles, thresholds=thresholds, epoch=epoch)
    for signer in signers:
        document = add_root_signature(document, signer)
    read_root(document)  # nothing is handed out that would not be read
    return document


def draft_root(
    workspace: str,
    number: int,
    expires: int,
    roles: Mapping[str, Sequence[PublicKey]],
    *,
    thresholds: Mapping[str, int] = MappingProxyType({}),
    epoch: int = 1,
) -> bytes:
    """Returns a root document that nobody has signed yet, as `make_root` does.

    Raises:
        RootError: the document would not be believed whoever signs it.
    """
    forms = {name: _form_role(keys, thresholds.get(name, 1)) for name, keys in roles.items()}
    form = {"workspace": workspace, "number": number, "expires": expires, "roles": forms, "epoch": epoch}
    payload = msgspec.json.encode(form, order="deterministic")
    document = msgspec.json.encode(_DocumentForm(base64.urlsafe_b64encode(payload).rstrip(b"=").decode("ascii"), ()))
    read_draft(document)
    return document


def add_root_signature(document: bytes, signer: Signer) -> bytes:
    """Returns a root document with one signature more; a key that has signed signs no second time.

    Raises:
        RootError: the document is malformed, or would be too large.
    """
    form = _decode_document(document)
    _build(_decode(_unsigned_payload(form), _RootForm))
    protected, _, signature = jws.sign(_unsigned_payload(form), signer, ROOT_TYPE).split(".")
    kept = tuple(one for one in form.signatures if one.protected != protected)
    added = msgspec.json.encode(_DocumentForm(form.payload, (*kept, _SignatureForm(protected, signature))))
    _decode_document(added)
    return added


def read_draft(data: bytes) -> Root:
    """Returns what a root document says, whoever has signed it or not: to show or to sign it, NEVER to believe it.

    Raises:
        RootError: it is malformed, or contradicts itself.
    """
    return _build(_decode(_unsigned_payload(_decode_document(data)), _RootForm))


def find_root_signers(data: bytes, role: Role) -> frozenset[str]:
    """Returns the kids of the role's keys that have signed a root document.

    Raises:
        RootError: it is malformed, or one of the signatures is wrong.
    """
    return frozenset(_signers(_decode_document(data), role.keys))


def read_root(data: bytes, now: int | None = None) -> Root:
    """Returns the root in a document that enough of its own root keys have signed.

    Signatures by keys that it does not name are passed over: a successor is signed by the keys before it too.

    Args:
        data: JSON text of at most MAX_ROOT_BYTES.
        now: seconds since 1970; if given, an expired root is refused.

    Raises:
        RootError: what is wrong with it.
    """
    root = read_draft(data)
    _check_threshold(data, root.role("root"), "its root keys")
    if now is not None:
        _check_expiry(root, now)
    return root


def read_successor(data: bytes, before: Root, now: int | None = None) -> Root:
    """Returns the root that follows another one: as `read_root`, and enough root keys of that one have signed it too.

    Raises:
        RootError: what is wrong with it: of another workspace, not the next number, of a lower epoch, or too few keys.
    """
    root = read_root(data, now)
    if root.workspace != before.workspace:
        raise RootError(f"expected a root of workspace {before.workspace!r}, got one of {root.workspace!r}")
    if root.number != before.number + 1:
        raise RootError(f"expected root {before.number + 1} to follow root {before.number}, got root {root.number}")
    if root.epoch < before.epoch:
        raise RootError(f"expected an epoch of at least {before.epoch}, got {root.epoch}")
    _check_threshold(data, before.role("root"), f"the root keys of root {before.number}")
    return root


def follow_roots(start: Root, documents: Iterable[bytes], now: int | None = None) -> Root:
    """Returns the last of roots that follow each other; `start` itself where there is none.

    Of the ones before the last nobody asks whether they have expired: who was away for years comes back this way.

    Raises:
        RootError: one of them is not its predecessor's successor; or, with `now`, the last has expired.
    """
    root = start
    for document in documents:
        root = read_successor(document, root)
    if now is not None:
        _check_expiry(root, now)
    return root


def _form_role(keys: Sequence[PublicKey], threshold: int) -> dict[str, Any]:
    return {"threshold": threshold, "keys": [key.jwk() for key in keys]}


_Form = TypeVar("_Form", bound=msgspec.Struct)


def _decode(data: bytes, kind: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise RootError(f"expected a root document: {error}") from error


def _decode_document(data: bytes) -> _DocumentForm:
    if len(data) > MAX_ROOT_BYTES:
        raise RootError(f"expected a root document of at most {MAX_ROOT_BYTES} bytes, got {len(data)}")
    return _decode(data, _DocumentForm)


def _unsigned_payload(document: _DocumentForm) -> bytes:
    # Leniently: the keys are in it, and the verification with them decodes it again, strictly.
    try:
        return base64.urlsafe_b64decode(document.payload + "=" * (-len(document.payload) % 4))
    except ValueError as error:
        raise RootError(f"expected a root document: its payload is not base64url: {error}") from error


def _build(form: _RootForm) -> Root:
    roles = {name: _build_role(name, getattr(form.roles, name)) for name in ROLES}
    return Root(form.workspace, form.number, form.expires, MappingProxyType(roles), form.epoch)


def _build_role(name: str, form: _RoleForm) -> Role:
    try:
        keys = {key.kid: key for key in map(PublicKey.from_jwk, form.keys)}
    except KeyFormatError as error:
        raise RootError(f"role {name}: {error}") from error
    if len(keys) < len(form.keys):
        raise RootError(f"role {name}: expected different keys, got one of them twice")
    if form.threshold > len(keys):
        raise RootError(f"role {name}: expected a threshold of at most its {len(keys)} keys, got {form.threshold}")
    if name == "channel" and form.threshold > 1:
        # A head is signed every hour by the one publisher; two keys in one hand would only look like more.
        raise RootError(f"role channel: expected a threshold of 1, got {form.threshold}")
    return Role(form.threshold, MappingProxyType(keys))


def _check_threshold(data: bytes, role: Role, whose: str) -> None:
    signers = find_root_signers(data, role)  # a set: two signatures by one key count once
    if len(signers) < role.threshold:
        raise RootError(f"expected signatures of {role.threshold} of {whose}, got {len(signers)}")


def _check_expiry(root: Root, now: int) -> None:
    if now >= root.expires:
        raise RootError(f"expected a root that has not expired, got one that did at {root.expires} (now {now})")


def _signers(document: _DocumentForm, keys: Mapping[str, PublicKey]) -> Iterable[str]:
    for index, form in enumerate(document.signatures):
        token = f"{form.protected}.{document.payload}.{form.signature}"
        try:
            yield jws.find_signer(token, keys, ROOT_TYPE)
        except UnknownKeyError:
            continue
        except SignatureError as error:
            raise RootError(f"signature {index}: {error}") from error
