"""Families of interchangeable members: one file each, whose file name is the member's name in the YAML.

A new member is a new file; nothing else needs to know. Helpers inside a family start with an underscore or end in
`kernels`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

FAMILIES = ("codecs", "features", "sinks", "sources")


def names(family: str) -> tuple[str, ...]:
    """Return the names of a family's members, sorted."""
    package = importlib.import_module(f"streamgmm.{family}")
    public = (m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    return tuple(sorted(name for name in public if not name.endswith("kernels")))


def member(family: str, name: str) -> ModuleType:
    """Import one member's module; every one has a `build` function."""
    known = names(family)
    if name not in known:
        raise ConfigError(f"{name!r} is not one of the {family}: {', '.join(known)}")
    return importlib.import_module(f"streamgmm.{family}.{name}")
