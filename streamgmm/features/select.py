"""Keep some columns, in the order given, and rename them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgmm.errors import ConfigError
from streamgmm.features import Stateless, _options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.features import Rows
    from streamgmm.records import Floats, Ints, Json


def build(spec: Mapping[str, Json], names: tuple[str, ...]) -> Select:
    """Return the feature; options: `rename`, a mapping from old to new names."""
    _options.check_options(spec, ("fields", "rename"))
    columns = _options.positions(spec, names)
    kept = [names[i] for i in columns]
    rename = spec.get("rename") or {}
    for old in rename:
        if old not in kept:
            raise ConfigError(f"rename: {old!r} is not kept{_options.did_you_mean(str(old), kept)}")
    renamed = tuple(str(rename.get(name, name)) for name in kept)
    if len(set(renamed)) < len(renamed):
        raise ConfigError(f"rename gives two columns the same name: {', '.join(renamed)}")
    return Select(columns, renamed)


class Select(Stateless):
    """Columns by position."""

    def __init__(self, columns: Ints, names: tuple[str, ...]) -> None:
        self.names = names
        self._columns = columns

    def apply(self, X: Floats, rows: Rows) -> Floats:  # noqa: ARG002 - part of the contract
        """Return the chosen columns."""
        return X[:, self._columns]
