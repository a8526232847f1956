"""What can be wrong with a document: always with the JSON path of the place, always for its author to mend."""

# A message may quote the document; a document's text may be as long as the document.
MAX_MESSAGE_CHARS = 500


class RulesetError(Exception):
    """The base of every error that `ruleset` raises."""


class DocumentError(RulesetError):
    """A document that cannot be read or compiled.

    Args:
        path: the JSON path of the place, `$` for the whole document.
        message: what was expected there and what was found.
    """

    def __init__(self, path: str, message: str) -> None:
        self.path = _show(path)
        self.message = _show(message)
        super().__init__(f"{self.path}: {self.message}")


def _show(text: str) -> str:
    """A text as a terminal and a log line may have it: bounded, and without control characters."""
    shown = text[: MAX_MESSAGE_CHARS + 1]
    if not shown.isprintable():
        shown = "".join([char if char.isprintable() else repr(char)[1:-1] for char in shown])
    return shown if len(shown) <= MAX_MESSAGE_CHARS else shown[:MAX_MESSAGE_CHARS] + "…"


class VersionError(RulesetError):
    """A text that is not a version of 1 to 4 numeric parts."""


class FingerprintError(RulesetError):
    """Bytes that are no file of fingerprints, or no key to make some."""
