"""Package signatures of the bench are genuine: the project's own code believes them."""

import orjson
import pytest

from loadtest.packager import Packager
from loadtest.program import make_document
from trust import PackageClaim, PrivateKey, Role, SignatureError, verify_package


def test_signatures_are_believed() -> None:
    """Each package of a document is signed as what the document says it is, by the package key and no other."""
    key, other = PrivateKey.generate(), PrivateKey.generate()
    document = make_document(4, 7)
    signed = Packager("bench", orjson.dumps(orjson.loads(key.to_json()))).sign(document)
    for version, package in signed["packages"].items():
        claim = verify_package(package["signature"], Role(1, {key.kid: key.public}))
        assert claim == PackageClaim(
            workspace="bench",
            program=document["program"],
            version=version,
            sha256=package["sha256"],
            size=package["size"],
        )
        with pytest.raises(SignatureError):
            verify_package(package["signature"], Role(1, {other.kid: other.public}))
    assert document["packages"][version]["signature"] == "unsigned"
