"""Bytes that end where memory ends: reading or writing one byte too far is a crash, which a test in a subprocess sees.

Compiled kernels check no bounds, and numba's own check sees neither cached code nor raw loads.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE = mmap.PAGESIZE
PROT_NONE = 0


def guarded(data: bytes) -> NDArray[np.uint8]:
    """Return a copy of `data` whose last byte is the last one that can be read.

    The array owns its pages: they are given back when the last view of it is gone. An empty array starts at the
    unreadable page. The page before the data is unreadable as well, but `data` need not start at its end.

    Raises
    ------
    OSError
        The kernel refuses to protect the page.
    """
    pages = -(-len(data) // PAGE)
    area = mmap.mmap(-1, (pages + 2) * PAGE)
    whole = np.frombuffer(area, dtype=np.uint8)
    end = (pages + 1) * PAGE
    values = whole[end - len(data) : end]
    values[:] = np.frombuffer(data, dtype=np.uint8)
    for edge in (0, end):
        _protect(whole.ctypes.data + edge)
    return values


def _protect(address: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), PROT_NONE):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
