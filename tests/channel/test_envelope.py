"""Envelopes: nothing is opened but what a known key has sealed, as what it was sealed as."""

import pytest

from channel import DOCUMENT_TYPE, HEAD_TYPE, EnvelopeError, open_envelope, seal
from channel.envelope import MAX_ENVELOPE_BYTES, MAX_PAYLOAD_BYTES, MAX_SIGNATURE_BYTES
from trust import PrivateKey

PAYLOAD = b'{"a":"\xc3\xa4\\n"}'


def test_payload_is_read_back(key: PrivateKey) -> None:
    """What was sealed comes out, byte for byte, also with a line feed in it."""
    for payload in (PAYLOAD, b"", b"\n\n", b"x" * MAX_PAYLOAD_BYTES):
        envelope = seal(payload, key, DOCUMENT_TYPE)
        assert open_envelope(envelope, {key.kid: key.public}, DOCUMENT_TYPE) == payload


def test_payload_is_readable(key: PrivateKey) -> None:
    """The payload stands after the first line as it is."""
    assert seal(PAYLOAD, key, DOCUMENT_TYPE).split(b"\n", 1)[1] == PAYLOAD


def test_any_changed_byte_is_found(key: PrivateKey) -> None:
    """No byte of an envelope can be changed, added or taken away."""
    envelope = seal(PAYLOAD, key, DOCUMENT_TYPE)
    forged = [envelope[:i] + bytes([envelope[i] ^ 1]) + envelope[i + 1 :] for i in range(len(envelope))]
    for wrong in [*forged, envelope + b" ", envelope[:-1], b"\n" + envelope, b""]:
        with pytest.raises(EnvelopeError):
            open_envelope(wrong, {key.kid: key.public}, DOCUMENT_TYPE)


def test_strangers_key_is_refused(key: PrivateKey) -> None:
    """What somebody else has sealed is not opened."""
    stranger = PrivateKey.generate()
    with pytest.raises(EnvelopeError, match=r"^expected the kid of a known key in the token's header, got "):
        open_envelope(seal(PAYLOAD, stranger, DOCUMENT_TYPE), {key.kid: key.public}, DOCUMENT_TYPE)


def test_other_type_is_refused(key: PrivateKey) -> None:
    """A head is no document, though the same key has signed it."""
    with pytest.raises(EnvelopeError, match=r"^expected typ 'graywave-document' .*, got 'graywave-head'$"):
        open_envelope(seal(PAYLOAD, key, HEAD_TYPE), {key.kid: key.public}, DOCUMENT_TYPE)


def test_too_large_payload_is_not_sealed(key: PrivateKey) -> None:
    """Nothing is sealed that no reader would open."""
    with pytest.raises(EnvelopeError) as caught:
        seal(b"x" * (MAX_PAYLOAD_BYTES + 1), key, DOCUMENT_TYPE)
    assert str(caught.value) == f"expected a payload of at most {MAX_PAYLOAD_BYTES} bytes, got {MAX_PAYLOAD_BYTES + 1}"


def test_payload_that_is_no_text_is_not_sealed(key: PrivateKey) -> None:
    """A payload is UTF-8."""
    with pytest.raises(EnvelopeError, match=r"^expected UTF-8 text to sign, got a wrong byte at 1$"):
        seal(b"a\xff", key, DOCUMENT_TYPE)


def test_too_large_envelope_is_not_read(key: PrivateKey) -> None:
    """An envelope that is too large is refused before anything looks into it."""
    with pytest.raises(EnvelopeError) as caught:
        open_envelope(b"x" * (MAX_ENVELOPE_BYTES + 1), {key.kid: key.public}, DOCUMENT_TYPE)
    wanted = f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes, got {MAX_ENVELOPE_BYTES + 1}"
    assert str(caught.value) == wanted


def test_first_line_is_bounded(key: PrivateKey) -> None:
    """A first line that is longer than a signature is none, and the message shows only its beginning."""
    with pytest.raises(EnvelopeError) as caught:
        open_envelope(b"x" * (MAX_SIGNATURE_BYTES + 1) + b"\n{}", {key.kid: key.public}, DOCUMENT_TYPE)
    shown = b"x" * 40
    wanted = f"expected a signature line of at most {MAX_SIGNATURE_BYTES} bytes, got {shown!r}"
    assert str(caught.value) == wanted
