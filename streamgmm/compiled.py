"""How much machine code there is: constant once the daemon is ready, or something compiles while rows wait."""

from __future__ import annotations

import importlib
import pkgutil

import streamgmm


def load_kernels() -> int:
    """Import every module of kernels (their signatures are explicit, so this compiles or loads them) and count them."""
    names = [m.name for m in pkgutil.walk_packages(streamgmm.__path__, "streamgmm.") if m.name.endswith("kernels")]
    modules = [importlib.import_module(name) for name in names]
    dispatchers = {id(f): f for module in modules for f in vars(module).values() if hasattr(f, "nopython_signatures")}
    return sum(len(f.nopython_signatures) for f in dispatchers.values())
