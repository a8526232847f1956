"""Who must act is told by the class."""

from channel import (
    ChannelError,
    EnvelopeError,
    KeyNameError,
    LinkAwayError,
    LinkError,
    LinkRefusedError,
    SourceError,
)


def test_all_are_channel_errors() -> None:
    """A caller catches everything of this package by one class."""
    for error in (EnvelopeError, KeyNameError, LinkError, SourceError):
        assert issubclass(error, ChannelError)


def test_link_errors_are_told_apart() -> None:
    """Trying again helps against the one, and not against the other."""
    assert issubclass(LinkAwayError, LinkError)
    assert issubclass(LinkRefusedError, LinkError)
    assert not issubclass(LinkRefusedError, LinkAwayError)
