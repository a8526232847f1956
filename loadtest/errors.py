"""What can go wrong with a measurement, by who must act."""


class LoadtestError(Exception):
    """The base of every error that `loadtest` raises."""


class ToolError(LoadtestError):
    """The machine lacks something; the message says what to install or to allow."""


class ServerError(LoadtestError):
    """A server that the bench started ended, or did not answer in time."""


class MeasureError(LoadtestError):
    """A round that proves nothing: requests failed, devices repeated, or the load generator ended."""
