"""Which file this is: a path can be given to another one while nobody looks."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

FIRST_BYTES = 4096
FORM = re.compile(r"[0-9a-f]+:(\d{1,8}):[0-9a-f]*", re.ASCII)


def identity_of(file: BinaryIO, length: int = FIRST_BYTES) -> str:
    """Return a file's inode, how many of its first bytes were looked at, and their hash.

    The device is left out: its number may be another one after a reboot.
    """
    head = os.pread(file.fileno(), length, 0)
    return f"{os.fstat(file.fileno()).st_ino:x}:{len(head)}:{hashlib.sha256(head).hexdigest()[:32]}"


def is_file(identity: str, file: BinaryIO) -> bool:
    """Return whether a file is the one of an identity; it may have grown since. An unknown identity may be any."""
    form = FORM.fullmatch(identity)
    return form is None or identity_of(file, min(int(form[1]), FIRST_BYTES)) == identity
