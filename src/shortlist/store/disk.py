"""Free disk space: full disks recognised by exceptions of libraries, room reserved before use."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from shortlist.errors import DoesNotFit, ShortlistError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors and tokenizers raise their own class with Rust's text; `np.save` an OSError without
# a number.
_TEXTS = re.compile(
    rf"os error ({'|'.join(map(str, FULL))})\b|No space left on device|Disk quota exceeded"
    r"|\d+ requested and \d+ written"
)


def says_full(error: BaseException) -> bool:
    """Returns whether an exception, or one that it was raised from, says that a disk is full."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            if cause.errno in FULL:
                return True
        elif _TEXTS.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def room(path: Path) -> str:
    """Returns what is free on the disk of `path` in words, for a message."""
    while not path.exists() and path != path.parent:
        path = path.parent
    state = os.statvfs(path)
    mib = state.f_bavail * state.f_frsize / 2**20
    inodes = ", no inode free" if state.f_files and not state.f_favail else ""
    return f"{mib:,.{0 if mib >= 10 else 2}f} MiB free{inodes}"


@contextmanager
def room_for(what: str, path: Path, setting: str) -> Generator[None]:
    """Turns a full disk into one line with the path, the room there is, and the setting.

    Raises:
        DoesNotFit: what is written does not fit on the disk, into the quota or under the limit of
            a file's size.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ShortlistError) or not says_full(error):
            raise
        file = getattr(error, "filename", None)
        raise DoesNotFit(
            f"{what} needs more room than there is under {path} ({room(path)})"
            f"{f', writing {file}' if file else ''}; set {setting}=DIR on a larger disk or free "
            "some room, the same command then goes on"
        ) from error


def reserve(path: Path) -> None:
    """Gives the file all its blocks on the disk, so that writing to its map cannot end in SIGBUS.

    Raises:
        OSError: the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):
        return  # macOS
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            # A file system without such a call (ZFS) keeps the file as it is.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
