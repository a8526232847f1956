"""Who must act is told by the class."""

from channel import (
    ChannelError,
    EnvelopeError,
    EpochError,
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


def test_later_epoch_is_nothing_to_believe() -> None:
    """Whoever catches what cannot be believed catches a later epoch too."""
    assert issubclass(EpochError, EnvelopeError)
