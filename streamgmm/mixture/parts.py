"""Rows in fixed parts, which threads may take: what comes out does not depend on how many threads there are.

The threads are Python's, and kernels release the interpreter. numba's own would not do: its OpenMP barriers spin on a
busy machine, its work queue aborts the process when two threads enter it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    T = TypeVar("T")

# Enough rows for a part to be worth a thread's while; whole blocks of rows fit into it.
PART_ROWS, ALIGNED = 8192, 128


def parts(n_rows: int) -> list[slice]:
    """Return slices of nearly equal size, PART_ROWS at most, that cover n_rows rows in order."""
    count = max(1, -(-n_rows // PART_ROWS))
    size = max(ALIGNED, -(-n_rows // count // ALIGNED) * ALIGNED)
    return [slice(start, min(start + size, n_rows)) for start in range(0, max(n_rows, 1), size)]


def each_part(function: Callable[[slice], T], n_rows: int, n_threads: int) -> Iterator[T]:
    """Yield what a function makes of each part, in order; the parts are worked on by n_threads threads."""
    slices = parts(n_rows)
    if n_threads <= 1 or len(slices) == 1:
        yield from map(function, slices)
        return
    with ThreadPoolExecutor(min(n_threads, len(slices))) as pool:
        yield from pool.map(function, slices)


def over_parts(function: Callable[[slice], None], n_rows: int, n_threads: int) -> None:
    """Call a function with each part, from n_threads threads."""
    for _ in each_part(function, n_rows, n_threads):
        pass


def thread_count(n_jobs: int | None) -> int:
    """Return how many threads n_jobs means: None one, −1 as many as there are cores, −2 one less, and so on."""
    if n_jobs is None:
        return 1
    if n_jobs > 0:
        return n_jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores + 1 + n_jobs)
