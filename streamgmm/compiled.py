"""How much machine code there is: constant once the daemon is ready, or something compiles while rows wait."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import streamgmm

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[str, int, int], None]


def load_kernels(tell: Tell = lambda *_: None) -> int:
    """Import every module of kernels and return how many kernels there are.

    The signatures of kernels are explicit, so that an import compiles them or loads them from the cache. Without a
    cache this takes one to two minutes of CPU in all.

    Parameters
    ----------
    tell
        Called before each module with its name, how many modules are done, and how many there are.
    """
    root = Path(streamgmm.__file__).parent
    # By the names of files: to walk the packages would import them, and with them most kernels, before the first word.
    paths = sorted(path.relative_to(root.parent) for path in root.rglob("*kernels.py"))
    names = [".".join(path.with_suffix("").parts) for path in paths]
    modules = []
    for done, name in enumerate(names):
        tell(name.removeprefix("streamgmm."), done, len(names))
        modules.append(importlib.import_module(name))
    dispatchers = {id(f): f for module in modules for f in vars(module).values() if hasattr(f, "nopython_signatures")}
    return sum(len(f.nopython_signatures) for f in dispatchers.values())
