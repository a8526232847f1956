"""A folder in memory for a host whose disk takes nothing: the syncer writes there, and the workers look there first.

Its name follows from the data folder's, so that nobody has to be told where it is. Workers believe what lies in
edge.db: a folder which somebody else may write to is none.
"""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

# Linux' own file system in memory.
BASE: Final = Path("/dev/shm")  # noqa: S108 - the folder below is this user's alone, or it is not used
_PRIVATE: Final = 0o700


def name_refuge(folder: Path) -> Path:
    """Returns where the refuge of a data folder is, or would be."""
    digest = hashlib.blake2b(os.fsencode(folder.absolute()), digest_size=12).hexdigest()
    return BASE / f"graywave-{os.geteuid()}-{digest}"


def is_safe(refuge: Path) -> bool:
    """Returns whether a refuge is there, and nobody else's: everybody may make folders beside it, and of its name."""
    try:
        found = refuge.lstat()
    except OSError:
        return False
    is_private = stat.S_IMODE(found.st_mode) == _PRIVATE
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and is_private


def make_refuge(refuge: Path) -> None:
    """Makes an empty refuge, in the place of one that is ours.

    Raises:
        OSError: there is no memory for it, or somebody else has the place.
    """
    remove_refuge(refuge)
    refuge.mkdir(mode=_PRIVATE)


def remove_refuge(refuge: Path) -> None:
    """Removes a refuge that is ours."""
    if is_safe(refuge):
        shutil.rmtree(refuge, ignore_errors=True)
