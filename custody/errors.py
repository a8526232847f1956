"""What can be wrong with where a key is kept: one error, whose message holds no secret."""


class CustodyError(Exception):
    """A key cannot be had or used: its holder must look at the place that the message names."""
