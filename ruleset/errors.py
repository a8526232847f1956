"""What can be wrong with a document: always with the JSON path of the place, always for its author to mend."""


class RulesetError(Exception):
    """The base of every error that `ruleset` raises."""


class DocumentError(RulesetError):
    """A document that cannot be read or compiled.

    Args:
        path: the JSON path of the place, `$` for the whole document.
        message: what was expected there and what was found.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class VersionError(RulesetError):
    """A text that is not a version of 1 to 4 numeric parts."""
