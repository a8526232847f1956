"""The packager's part of a rule set without packages: package signatures that a publisher accepts.

It signs as `contract/package.md` says, with joserfc and the workspace's own package key; no package lies behind it.
"""

from typing import Any

import orjson
from joserfc import jws
from joserfc.jwk import OKPKey

Json = dict[str, Any]

ALGORITHM = "Ed25519"
PACKAGE_TYPE = "graywave-package"


class Packager:
    """Signs the packages of documents.

    Args:
        workspace: for which it signs.
        jwk: the private package key, a JSON Web Key.
    """

    def __init__(self, workspace: str, jwk: bytes) -> None:
        self._workspace = workspace
        self._key = OKPKey.import_key(orjson.loads(jwk))
        self._header = {"alg": ALGORITHM, "kid": self._key.thumbprint(), "typ": PACKAGE_TYPE}
        self._registry = jws.JWSRegistry(algorithms=[ALGORITHM])

    def sign(self, document: Json) -> Json:
        """Returns an author's document with a genuine signature in each package."""
        packages = {
            version: {**package, "signature": self._sign_package(document["program"], version, package)}
            for version, package in document["packages"].items()
        }
        return {**document, "packages": packages}

    def _sign_package(self, program: str, version: str, package: Json) -> str:
        claim = {
            "workspace": self._workspace,
            "program": program,
            "version": version,
            "sha256": package["sha256"],
            "size": package["size"],
            "permissions": package.get("permissions", {}),
        }
        payload = orjson.dumps(claim, option=orjson.OPT_SORT_KEYS)
        return jws.serialize_compact(self._header, payload, self._key, registry=self._registry)
