"""What can be wrong with a package's bytes; each error says who has to act."""


class BundleError(Exception):
    """The base of every error that `bundle` raises."""


class SourceError(BundleError):
    """What shall be packed cannot be read: the developer must bring a folder, .zip, .tar or .tgz."""


class EntryError(BundleError):
    """One file may not be in a package: the developer must rename, shrink or remove it."""


class ArchiveError(BundleError):
    """The bytes are no canonical tar: whoever packed them must pack again, with this tool."""


class TransferError(BundleError):
    """The bytes that were moved are not those that were promised: get them again, or distrust where they came from."""


class SealError(BundleError):
    """A sealed transfer cannot be opened, or a key is none: get key and transfer again, or distrust who gave them."""


class StoreError(BundleError):
    """The store cannot hold or find a file: the operator must look at its folder."""
