"""A sealed payload: a detached signature, a line feed, the signed bytes. What the bytes mean is not known here.

The bytes stay readable to people and are verified before anything parses them.
"""

from collections.abc import Mapping

from channel.errors import EnvelopeError
from trust import PublicKey, SignatureError, Signer, sign_detached, verify_detached

DOCUMENT_TYPE = "graywave-document"
HEAD_TYPE = "graywave-head"
# A signature of one key has under 300 bytes; a longer first line wants the parser to work.
MAX_SIGNATURE_BYTES = 1_024
# A published document has at most 1 MiB, offers included: whoever writes more wants a host's memory.
MAX_PAYLOAD_BYTES = 1 << 20
MAX_ENVELOPE_BYTES = MAX_SIGNATURE_BYTES + 1 + MAX_PAYLOAD_BYTES


def seal(payload: bytes, key: Signer, typ: str) -> bytes:
    """Returns a payload under its signature, as something of this type.

    Raises:
        EnvelopeError: the payload is larger than MAX_PAYLOAD_BYTES, or not UTF-8.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EnvelopeError(f"expected a payload of at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
    try:
        return sign_detached(payload, key, typ).encode("ascii") + b"\n" + payload
    except SignatureError as error:
        raise EnvelopeError(str(error)) from error


def open_envelope(envelope: bytes, keys: Mapping[str, PublicKey], typ: str) -> bytes:
    """Returns the payload that one of the keys has sealed as something of this type.

    Raises:
        EnvelopeError: too large, without a signature line, or not signed by any of the keys as this type.
    """
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise EnvelopeError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes, got {len(envelope)}")
    end = envelope.find(b"\n", 0, MAX_SIGNATURE_BYTES + 1)
    if end < 0:
        raise EnvelopeError(f"expected a signature line of at most {MAX_SIGNATURE_BYTES} bytes, got {envelope[:40]!r}")
    payload = envelope[end + 1 :]
    try:
        verify_detached(envelope[:end].decode("ascii", "backslashreplace"), payload, keys, typ)
    except SignatureError as error:
        raise EnvelopeError(str(error)) from error
    return payload


def cut_payload(envelope: bytes) -> bytes:
    """Returns the payload of an envelope that somebody else has verified; nothing is checked here."""
    return envelope[envelope.find(b"\n") + 1 :]
