"""`graywave keys`: each step of a key's life, and the root documents that say what each key may sign."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from channel import ChannelError, Keys
from cli.ceremony import (
    PENDING_SUFFIX,
    PRIVATE_MODE,
    PUBLIC_MODE,
    ROOT_NAME,
    Contents,
    Outcome,
    name_root,
    publish,
    read_current,
    refuse_pending,
    replace_file,
    sign_pending,
    write_new,
)
from cli.exit import CommandError, Exit
from cli.home import take_json
from custody import CustodyError, open_public, open_signer
from settings.key import KEY_BYTES
from trust import (
    ALGORITHMS,
    ROLES,
    AlgorithmName,
    PackageClaim,
    PrivateKey,
    PublicKey,
    Root,
    RootError,
    Signer,
    TrustError,
    add_signature,
    find_root_signers,
    make_root,
    read_draft,
    read_unverified_package,
)
from trust.root import MAX_KEYS_A_ROLE

DAY_S = 86_400
DEFAULT_DAYS = 3650
MANIFEST_NAME = "package.json"
# What a program document takes as a signature; a package that nobody can release is not worth signing.
MAX_TOKEN_CHARACTERS = 8192

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@dataclass(frozen=True, slots=True)
class Shape:
    """How many keys a new workspace has in each role, how many of them have to sign, and of what kind; 1 by default."""

    algorithm: AlgorithmName = "Ed25519"
    counts: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, int] = field(default_factory=dict)


PLAIN = Shape()


def _take_roles(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    numbers = {}
    for value in values:
        match = re.fullmatch(r"([a-z]+)=([0-9]{1,2})", value)
        if not match or match[1] not in ROLES or not 1 <= int(match[2]) <= MAX_KEYS_A_ROLE:
            message = f"expected {param.metavar} with a role of {', '.join(ROLES)} and 1 to {MAX_KEYS_A_ROLE}"
            raise click.BadParameter(f"{message}, got {value!r}")
        numbers[match[1]] = int(match[2])
    return numbers


def _take_algorithm(function: _Function) -> _Function:
    return click.option(
        "--algorithm",
        default="Ed25519",
        show_default=True,
        type=click.Choice(ALGORITHMS),
        help="Of a key that is made.",
    )(function)


def _take_root_keys(function: _Function) -> _Function:
    """Gives a command the addresses of the root keys at hand, as the argument `root_keys`."""
    return click.option(
        "--root-key", "root_keys", multiple=True, metavar="ADDRESS",
        help="A root key at hand, once for each: path, env:, pkcs11:.  [default: FOLDER/root*.key]",
    )(function)  # fmt: skip


@click.group()
def keys() -> None:
    """Make the keys of a workspace, and change them.

    An ADDRESS is a file (JWK or PEM), env:NAME of a variable, or pkcs11:token=…;object=…?module-path=… of a token,
    whose PIN is in GRAYWAVE_PKCS11_PIN or where pin-source= says.
    """


@keys.command()
@click.argument("folder", type=_FOLDER)
@click.option("--workspace", required=True, help="The workspace that the keys are for, such as wallet-prod.")
@click.option("--days", default=DEFAULT_DAYS, show_default=True, type=click.IntRange(1, 36_500), help="Of the root.")
@_take_algorithm
@click.option(
    "--threshold", "thresholds", multiple=True, metavar="ROLE=N", callback=_take_roles,
    help="How many keys of a role have to sign, such as root=2.  [default: 1]",
)  # fmt: skip
@click.option(
    "--count", "counts", multiple=True, metavar="ROLE=N", callback=_take_roles,
    help="How many keys to make for a role, such as root=3.  [default: 1]",
)  # fmt: skip
@take_json
def new(
    folder: Path, workspace: str, days: int, *, algorithm: AlgorithmName, thresholds: dict[str, int],
    counts: dict[str, int], as_json: bool,
) -> None:  # fmt: skip
    """Make a key for each role in FOLDER, and the root document that names them.

    Keep root keys offline, package.key where packages are built, offer.key and channel.key with the publisher. Edges
    get root.json alone.
    """
    made = make_keys(folder, workspace, _end(days), Shape(algorithm, counts, thresholds))
    if as_json:
        told = {"workspace": workspace, "keys": made, "root": str(folder / ROOT_NAME)}
        click.echo(json.dumps(told))
        return
    for name, kid in made.items():
        click.echo(f"{name:8} {kid}  {folder / f'{name}.key'}")
    click.echo(f"{'root':8} {folder / ROOT_NAME}")


def make_keys(folder: Path, workspace: str, expires: int, shape: Shape = PLAIN) -> dict[str, str]:
    """Writes keys for each role and the root that names them; returns the id of each key, by its file's name.

    The first key of a role is called as the role is, the second `role-2`, and so on.

    Raises:
        CommandError: a file is there already, cannot be written, or the workspace or a threshold is none.
    """
    made = {
        name: (role, PrivateKey.generate(shape.algorithm))
        for role in ROLES
        for name in _name_keys(role, shape.counts.get(role, 1))
    }
    roles = {role: [key.public for other, key in made.values() if other == role] for role in ROLES}
    signers = [key for role, key in made.values() if role == "root"]
    try:
        Keys.of(workspace)  # as strict as whoever serves it
        root = make_root(workspace, 1, expires, roles, signers, thresholds=shape.thresholds)
    except (TrustError, ChannelError) as error:
        raise CommandError(f"cannot make keys of workspace {workspace!r}: {error}", Exit.USAGE) from None
    files = {folder / f"{name}.key": (key.to_json(), PRIVATE_MODE) for name, (_, key) in made.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_new({**files, name_root(folder, 1): (root, PUBLIC_MODE), folder / ROOT_NAME: (root, PUBLIC_MODE)})
    except OSError as error:
        raise CommandError(f"cannot make keys in {folder}: {error}") from None
    return {name: key.kid for name, (_, key) in made.items()}


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def fingerprint(file: Path) -> None:
    """Make a key for the fingerprints of audiences and windows, and write it to FILE.

    Publisher and edges name it in their setting fingerprint_keys, under an id of your choice, such as k1=FILE.
    """
    try:
        make_fingerprint_key(file)
    except OSError as error:
        raise CommandError(f"cannot make the key {file}: {error}") from None
    click.echo(f"made {file}")


def make_fingerprint_key(path: Path) -> None:
    """Writes a new fingerprint key, for its owner alone.

    Raises:
        CommandError: the file is there already.
        OSError: it cannot be written.
    """
    write_new({path: (f"{secrets.token_hex(KEY_BYTES)}\n".encode(), PRIVATE_MODE)})


@keys.command()
@click.argument("root", type=click.Path(path_type=Path, exists=True))
@take_json
def show(root: Path, *, as_json: bool) -> None:
    """Show what ROOT says: a root document, or a folder with one."""
    path = root / ROOT_NAME if root.is_dir() else root
    try:
        document = path.read_bytes()
        said = read_draft(document)
        signed = sorted(find_root_signers(document, said.role("root")))
    except (OSError, RootError) as error:
        raise CommandError(f"{path}: {error}", Exit.UNVERIFIED) from None
    is_believed = len(signed) >= said.role("root").threshold
    click.echo(json.dumps(_tell_root(said, signed)) if as_json else "\n".join(_describe_root(said, signed)))
    if not is_believed and path.suffix != PENDING_SUFFIX:
        raise CommandError(f"{path}: too few of its own root keys have signed it", Exit.UNVERIFIED)


@keys.command()
@click.argument("address")
def public(address: str) -> None:
    """Print the public half of the key at ADDRESS, as a JWK."""
    click.echo(json.dumps(_open_public(address).jwk()))


@keys.command()
@click.argument("folder", type=_FOLDER)
@click.argument("role", type=click.Choice(ROLES))
@click.option("--key", metavar="ADDRESS", help="A key, or a file with its public half.  [default: one is made]")
@_take_algorithm
@_take_root_keys
@take_json
def add(folder: Path, role: str, key: str | None, *, algorithm: AlgorithmName, **given: Any) -> None:
    """Let one key more sign as ROLE: in the next root of FOLDER."""
    before = _start(folder)
    fresh = _find_fresh(folder, role, key, algorithm)
    _finish(folder, before, Contents.after(before).add(role, fresh.public), fresh, **given)


# A key id may begin with a dash, and with -h.
@keys.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("folder", type=_FOLDER)
@click.argument("role", type=click.Choice(ROLES))
@click.argument("kid")
@_take_root_keys
@take_json
def revoke(folder: Path, role: str, kid: str, **given: Any) -> None:
    """Let the key KID sign as ROLE no more: in the next root of FOLDER."""
    before = _start(folder)
    _finish(folder, before, Contents.after(before).revoke(role, kid), None, **given)


@keys.command()
@click.argument("folder", type=_FOLDER)
@click.argument("role", type=click.Choice(ROLES))
@click.option("--old", metavar="KID", help="Which key goes.  [default: the only one]")
@click.option("--key", metavar="ADDRESS", help="A key, or a file with its public half.  [default: one is made]")
@_take_algorithm
@_take_root_keys
@take_json
def rotate(
    folder: Path, role: str, old: str | None, key: str | None, *, algorithm: AlgorithmName, **given: Any
) -> None:
    """Put a new key in the place of an old one of ROLE: in the next root of FOLDER."""
    before = _start(folder)
    fresh = _find_fresh(folder, role, key, algorithm)
    gone = old or _find_only(before, role)
    _finish(folder, before, Contents.after(before).add(role, fresh.public).revoke(role, gone), fresh, **given)


@keys.command()
@click.argument("folder", type=_FOLDER)
@click.option("--days", default=DEFAULT_DAYS, show_default=True, type=click.IntRange(1, 36_500), help="From now on.")
@_take_root_keys
@take_json
def renew(folder: Path, days: int, **given: Any) -> None:
    """Give the root a new life: in the next root of FOLDER."""
    before = _start(folder)
    _finish(folder, before, replace(Contents.after(before), expires=_end(days)), None, **given)


@keys.command()
@click.argument("folder", type=_FOLDER)
@click.argument("role", type=click.Choice(ROLES))
@click.argument("number", type=click.IntRange(1, MAX_KEYS_A_ROLE))
@_take_root_keys
@take_json
def threshold(folder: Path, role: str, number: int, **given: Any) -> None:
    """Let NUMBER keys of ROLE have to sign: in the next root of FOLDER."""
    before = _start(folder)
    _finish(folder, before, Contents.after(before).set_threshold(role, number), None, **given)


@keys.command("reset-epoch")
@click.argument("folder", type=_FOLDER)
@_take_root_keys
@take_json
def reset_epoch(folder: Path, **given: Any) -> None:
    """Begin the next epoch: everything published before it counts as old, whatever its revision.

    This is what recovers from a stolen publisher's key that has signed a huge revision; docs/keys.md says how.
    """
    before = _start(folder)
    _finish(folder, before, replace(Contents.after(before), epoch=before.epoch + 1), None, **given)


@keys.command()
@click.argument("pending", type=_FILE)
@click.option("--key", "addresses", multiple=True, metavar="ADDRESS", help="A root key, once for each.")
@take_json
def sign(pending: Path, addresses: tuple[str, ...], *, as_json: bool) -> None:
    """Add signatures to PENDING, a root that waits for them; once it has all, it is put in its place.

    That is beside the root before it. On another machine it only gets signatures; bring it back, and run this once
    more without a key.
    """
    signers = [_open_signer(address) for address in addresses]
    try:
        outcome = sign_pending(pending, signers)
    except (OSError, TrustError, CustodyError) as error:
        raise CommandError(f"cannot sign {pending}: {error}") from None
    if outcome is not None:
        _tell(outcome, {}, as_json=as_json)
    elif as_json:
        click.echo(json.dumps({"state": "pending", "path": str(pending)}))
    else:
        click.echo(f"pending  {pending}: the root before it is elsewhere; bring it back there, and sign or finish it")


@keys.command()
@click.argument("packed", type=click.Path(path_type=Path, exists=True))
@click.option("--key", "address", required=True, metavar="ADDRESS", help="A package key.")
@click.option("--sha256", help="Sign only a package with this digest, which you got by packing it yourself.")
@click.option("--version", "versions", multiple=True, help="Of a document: which package; several times for several.")
@take_json
def cosign(packed: Path, address: str, sha256: str | None, versions: tuple[str, ...], *, as_json: bool) -> None:
    """Add a packager's signature to PACKED, a folder that `graywave pack` has written, or a program's document.

    Packing the same files gives the same bytes anywhere: pack them on another machine, and compare. A document, as
    `graywave document get` prints it, is signed where a package key has been replaced: publish it again afterwards.
    """
    path = packed / MANIFEST_NAME if packed.is_dir() else packed
    signer = _open_signer(address)
    try:
        content = json.loads(path.read_bytes())
        places = list(_find_packages(content, versions, is_document=path is packed))
        claims = [_cosign(place, signer, sha256, path) for place in places]
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        replace_file(path, text.encode(), path.stat().st_mode & 0o777)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, TrustError, CustodyError,
    ) as error:  # fmt: skip
        raise CommandError(f"cannot sign {path}: {type(error).__name__} {error}") from None
    if as_json:
        told = [{"program": one.program, "version": one.version, "sha256": one.sha256} for one in claims]
        click.echo(json.dumps({"key": signer.public.kid, "packages": told}))
        return
    for one in claims:
        click.echo(f"signed   {one.program} {one.version} by {signer.public.kid}\nsha256   {one.sha256}")


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A key that comes into a root; where it was made here, with the file that it goes to."""

    public: PublicKey
    path: Path | None = None
    private: PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a package is described, in a manifest or a document."""

    program: str
    version: str
    package: dict[str, Any]


def _start(folder: Path) -> Root:
    root = read_current(folder)
    refuse_pending(folder, root)
    return root


def _find_fresh(folder: Path, role: str, address: str | None, algorithm: AlgorithmName) -> _Fresh:
    if address is not None:
        return _Fresh(_open_public(address))
    names = (f"{name}.key" for name in _name_keys(role, 1000))
    path = next(folder / name for name in names if not (folder / name).exists())
    made = PrivateKey.generate(algorithm)
    return _Fresh(made.public, path, made)


def _finish(
    folder: Path, before: Root, contents: Contents, fresh: _Fresh | None, *, root_keys: tuple[str, ...], as_json: bool
) -> None:
    """Signs and writes the next root with the root keys at hand; says what came of it."""
    contents.draft()  # before a key is written that no root would name
    signers = _open_root_keys(folder, root_keys, {**before.keys("root"), **contents.roles["root"].keys})
    told: dict[str, Any] = {}
    try:
        if fresh:
            told["key"] = fresh.public.kid
        if fresh and fresh.private and fresh.path:
            write_new({fresh.path: (fresh.private.to_json(), PRIVATE_MODE)})
            signers.append(fresh.private)
            told["file"] = str(fresh.path)
        outcome = publish(folder, before, contents, signers)
    except (OSError, TrustError, CustodyError) as error:
        raise CommandError(f"cannot write root {contents.number} in {folder}: {error}") from None
    _tell(outcome, told, as_json=as_json)


def _open_root_keys(folder: Path, addresses: tuple[str, ...], known: Mapping[str, PublicKey]) -> list[Signer]:
    if not addresses:
        return [_open_signer(str(path)) for path in sorted(folder.glob("root*.key"))]  # old ones among them do no harm
    signers = [_open_signer(address) for address in addresses]
    for address, signer in zip(addresses, signers, strict=True):
        if signer.public.kid not in known:
            raise CommandError(
                f"expected a root key at {address}, got {signer.public.kid!r}, which is none", Exit.USAGE
            )
    return signers


def _find_only(root: Root, role: str) -> str:
    kids = list(root.keys(role))
    if len(kids) != 1:
        raise CommandError(
            f"role {role} has {len(kids)} keys: say which goes, with --old: {', '.join(kids)}", Exit.USAGE
        )
    return kids[0]


def _name_keys(role: str, count: int) -> Iterable[str]:
    return (role if number == 1 else f"{role}-{number}" for number in range(1, count + 1))


def _end(days: int) -> int:
    return int(time.time()) + days * DAY_S


def _open_signer(address: str) -> Signer:
    try:
        return open_signer(address)
    except CustodyError as error:
        raise CommandError(f"cannot use a key: {error}", Exit.USAGE) from None


def _open_public(address: str) -> PublicKey:
    try:
        return open_public(address)
    except CustodyError as error:
        raise CommandError(f"cannot read a key: {error}", Exit.USAGE) from None


def _find_packages(content: Any, versions: tuple[str, ...], *, is_document: bool) -> Iterable[_Place]:
    if not is_document:
        yield _Place(content["program"], content["version"], content["package"])
        return
    if not versions:
        known = ", ".join(content["packages"])
        raise CommandError(f"say which packages of the document to sign, with --version: {known}", Exit.USAGE)
    for version in versions:
        if version not in content["packages"]:
            raise CommandError(f"the document has no package {version!r}", Exit.USAGE)
        yield _Place(content["program"], version, content["packages"][version])


def _cosign(place: _Place, signer: Signer, sha256: str | None, path: Path) -> PackageClaim:
    """Signs once more what the place says it is, and what its signer expects, and nothing else."""
    package = place.package
    claim = read_unverified_package(package["signature"])
    stated = (place.program, place.version, package["sha256"], package["size"], package.get("permissions", {}))
    if stated != (claim.program, claim.version, claim.sha256, claim.size, claim.permissions):
        raise CommandError(f"{path}: expected a signature of what it says, got one of something else", Exit.UNVERIFIED)
    if sha256 not in (None, claim.sha256):
        raise CommandError(f"{path}: expected a package with sha256 {sha256}, got {claim.sha256}", Exit.UNVERIFIED)
    token = add_signature(package["signature"], signer)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise CommandError(f"expected signatures of at most {MAX_TOKEN_CHARACTERS} characters, got {len(token)}")
    package["signature"] = token
    return claim


def _tell(outcome: Outcome, told: Mapping[str, Any], *, as_json: bool) -> None:
    root = outcome.root
    state = "complete" if outcome.is_complete else "pending"
    if as_json:
        missing = {"before": outcome.missing_before, "own": outcome.missing_own}
        head = {"state": state, "number": root.number, "epoch": root.epoch, "path": str(outcome.path)}
        click.echo(json.dumps({**head, "missing": missing, **told}))
        return
    if "key" in told:
        click.echo(f"key      {told['key']}" + (f"  {told['file']}" if "file" in told else ""))
    click.echo(f"{state} {outcome.path}")
    if outcome.missing_before:
        click.echo(f"it wants {outcome.missing_before} more of the root keys of root {root.number - 1}")
    if outcome.missing_own:
        click.echo(f"it wants {outcome.missing_own} more of its own root keys")
    if not outcome.is_complete:
        click.echo(f"add them with: graywave keys sign {outcome.path} --key ADDRESS")


def _tell_root(root: Root, signed: list[str]) -> dict[str, Any]:
    roles = {
        name: {"threshold": role.threshold, "keys": [key.jwk() for key in role.keys.values()]}
        for name, role in root.roles.items()
    }
    return {
        "workspace": root.workspace,
        "number": root.number,
        "epoch": root.epoch,
        "expires": root.expires,
        "signed": signed,
        "roles": roles,
    }


def _describe_root(root: Root, signed: list[str]) -> Iterable[str]:
    yield f"root {root.number} of {root.workspace}, epoch {root.epoch}, expires {_tell_time(root.expires)}"
    for name, role in root.roles.items():
        yield f"{name}: {role.threshold} of {len(role.keys)}"
        for key in role.keys.values():
            mark = ", has signed this root" if name == "root" and key.kid in signed else ""
            yield f"  {key.kid}  {key.algorithm}{mark}"


def _tell_time(seconds: int) -> str:
    with suppress(ValueError, OverflowError, OSError):  # past the year 9999
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return str(seconds)
