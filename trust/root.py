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
from trust.key import PrivateKey, PublicKey

ROLES = ("root", "package", "offer", "channel")
ROOT_TYPE = "graywave-root"
# Room for every key and signature below; a larger one wants memory and parser time.
MAX_ROOT_BYTES = 64 * 1024
# Each costs a verification (58 microseconds): a document full of signatures would keep a device busy.
MAX_SIGNATURES = 32
MAX_KEYS_A_ROLE = 16


@dataclass(frozen=True, slots=True)
class Role:
    """The keys of a role by kid, and how many of them have to sign."""

    threshold: int
    keys: Mapping[str, PublicKey]


@dataclass(frozen=True, slots=True)
class Root:
    """A root that its own keys have signed; `number` counts up, `expires` is in seconds since 1970."""

    workspace: str
    number: int
    expires: int
    roles: Mapping[str, Role]

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


class _SignatureForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    protected: str
    signature: str


class _DocumentForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    signatures: Annotated[tuple[_SignatureForm, ...], Meta(max_length=MAX_SIGNATURES)]


def make_root(  # noqa: PLR0913, the members of a root document
    workspace: str,
    number: int,
    expires: int,
    roles: Mapping[str, Sequence[PublicKey]],
    signers: Sequence[PrivateKey],
    *,
    thresholds: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """Returns a root document as JSON text; a role's threshold is 1 where `thresholds` does not say more.

    Raises:
        RootError: the document would not be believed: roles, thresholds, number, expiry or signers do not do.
    """
    if not signers:
        raise RootError("expected at least one key to sign the root, got none")
    forms = {name: _form_role(keys, thresholds.get(name, 1)) for name, keys in roles.items()}
    form = {"workspace": workspace, "number": number, "expires": expires, "roles": forms}
    payload = msgspec.json.encode(form, order="deterministic")
    document = _encode([jws.sign(payload, signer, ROOT_TYPE).split(".") for signer in signers])
    read_root(document)  # nothing is handed out that would not be read
    return document


def read_root(data: bytes, now: int | None = None) -> Root:
    """Returns the root in a document that enough of its own root keys have signed.

    Signatures by keys that it does not name are passed over: a successor is signed by the keys before it too.

    Args:
        data: JSON text of at most MAX_ROOT_BYTES.
        now: seconds since 1970; if given, an expired root is refused.

    Raises:
        RootError: what is wrong with it.
    """
    if len(data) > MAX_ROOT_BYTES:
        raise RootError(f"expected a root document of at most {MAX_ROOT_BYTES} bytes, got {len(data)}")
    document = _decode(data, _DocumentForm)
    root = _build(_decode(_unsigned_payload(document), _RootForm))
    _check_threshold(root, document)
    if now is not None and now >= root.expires:
        raise RootError(f"expected a root that has not expired, got one that did at {root.expires} (now {now})")
    return root


def _form_role(keys: Sequence[PublicKey], threshold: int) -> dict[str, Any]:
    return {"threshold": threshold, "keys": [key.jwk() for key in keys]}


def _encode(tokens: Sequence[Sequence[str]]) -> bytes:
    payload = tokens[0][1]
    signatures = tuple(_SignatureForm(protected, signature) for protected, _, signature in tokens)
    return msgspec.json.encode(_DocumentForm(payload, signatures))


_Form = TypeVar("_Form", bound=msgspec.Struct)


def _decode(data: bytes, kind: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise RootError(f"expected a root document: {error}") from error


def _unsigned_payload(document: _DocumentForm) -> bytes:
    # Leniently: the keys are in it, and the verification with them decodes it again, strictly.
    try:
        return base64.urlsafe_b64decode(document.payload + "=" * (-len(document.payload) % 4))
    except ValueError as error:
        raise RootError(f"expected a root document: its payload is not base64url: {error}") from error


def _build(form: _RootForm) -> Root:
    roles = {name: _build_role(name, getattr(form.roles, name)) for name in ROLES}
    return Root(form.workspace, form.number, form.expires, MappingProxyType(roles))


def _build_role(name: str, form: _RoleForm) -> Role:
    try:
        keys = {key.kid: key for key in map(PublicKey.from_jwk, form.keys)}
    except KeyFormatError as error:
        raise RootError(f"role {name}: {error}") from error
    if len(keys) < len(form.keys):
        raise RootError(f"role {name}: expected different keys, got one of them twice")
    if form.threshold > len(keys):
        raise RootError(f"role {name}: expected a threshold of at most its {len(keys)} keys, got {form.threshold}")
    return Role(form.threshold, MappingProxyType(keys))


def _check_threshold(root: Root, document: _DocumentForm) -> None:
    role = root.roles["root"]
    signers = set(_signers(document, role.keys))  # a set: two signatures by one key count once
    if len(signers) < role.threshold:
        raise RootError(f"expected signatures of {role.threshold} of its root keys, got {len(signers)}")


def _signers(document: _DocumentForm, keys: Mapping[str, PublicKey]) -> Iterable[str]:
    for index, form in enumerate(document.signatures):
        token = f"{form.protected}.{document.payload}.{form.signature}"
        try:
            yield jws.signer(token, keys, ROOT_TYPE)
        except UnknownKeyError:
            continue
        except SignatureError as error:
            raise RootError(f"signature {index}: {error}") from error
