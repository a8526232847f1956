"""What can go wrong between publisher and edge; each error says who has to act."""


class ChannelError(Exception):
    """The base of every error that `channel` raises."""


class KeyNameError(ChannelError):
    """A workspace, a document's name or a Redis address is none: whoever configured or wrote it must act."""


class EnvelopeError(ChannelError):
    """Something sealed cannot be believed: its publisher must act, or somebody else has written it."""


class EpochError(EnvelopeError):
    """Something properly sealed is of a later epoch than the root has: get a newer root, or somebody has the key."""


class SourceError(ChannelError):
    """What Redis holds makes no sense: the operator of the Redis must act."""


class LinkError(ChannelError):
    """Redis did not do what it was asked: the base of the two ways in which it does not."""


class LinkAwayError(LinkError):
    """Redis cannot be reached, or does not answer in time: the network or its operator must act; try again."""


class LinkRefusedError(LinkError):
    """Redis answered with an error: its operator must act."""


class OversizedError(LinkRefusedError):
    """Redis has something larger there than anybody reads: somebody else writes to it, its operator must act."""
