"""What publisher and edge say to each other through Redis: names, envelopes, the head, publishing and reading."""

from channel.envelope import DOCUMENT_TYPE, HEAD_TYPE, open_envelope, seal
from channel.errors import (
    ChannelError,
    EnvelopeError,
    KeyNameError,
    LinkAwayError,
    LinkError,
    LinkRefusedError,
    SourceError,
)
from channel.feed import Change, Changes, Feed, Hint, LogCut, Patience, Standing, follow_log, judge_head
from channel.head import HEAD_LIFE_S, NOWHERE, Head, Position, decode_head, encode_head, make_head
from channel.keys import DocumentName, Keys
from channel.link import check_policy, connect
from channel.publish import Conflict, Published, SealedDocument, Sender

__all__ = [
    "DOCUMENT_TYPE",
    "HEAD_LIFE_S",
    "HEAD_TYPE",
    "NOWHERE",
    "Change",
    "Changes",
    "ChannelError",
    "Conflict",
    "DocumentName",
    "EnvelopeError",
    "Feed",
    "Head",
    "Hint",
    "KeyNameError",
    "Keys",
    "LinkAwayError",
    "LinkError",
    "LinkRefusedError",
    "LogCut",
    "Patience",
    "Position",
    "Published",
    "SealedDocument",
    "Sender",
    "SourceError",
    "Standing",
    "check_policy",
    "connect",
    "decode_head",
    "encode_head",
    "follow_log",
    "judge_head",
    "make_head",
    "open_envelope",
    "seal",
]
