"""A typed JSON reader for the ordinary record: a few microseconds a vector, and an exception for anything else.

The declared paths become a tree of structs, so that the parser builds no dictionaries, skips what nobody asked for and
checks the types on its way.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import astuple

from streamgmm.codecs._payload import category, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamgmm.codecs import CodecSettings

    Values: TypeAlias = tuple[Any, ...]
    Row: TypeAlias = tuple[tuple[float | None, ...], float]
    Tree: TypeAlias = dict[str, "Tree | int"]

_NUMBER = float | None
_CATEGORY = str | float | int | bool | None
_TIMES = {"iso": str | None}
_TIME = int | float | None


class _Never:
    """The type of a key that an ordinary record does not have."""


class _Shape(NamedTuple):
    """A struct for one level, how to flatten it, and which path each flattened value belongs to."""

    struct: Any
    flatten: Callable[[Any], Values]
    order: tuple[int, ...]


def reader(settings: CodecSettings) -> Callable[[str, dict[str, float]], Row] | None:
    """Return a function (text, category codes) → (values, event time), or None where paths overlap.

    What it returns agrees with the careful reading of `json`; what that one would reject (and a few oddities that it
    would take) raises.
    """
    timestamp = settings.timestamp
    paths = [f.path for f in settings.fields] + ([timestamp.path] if timestamp else [])
    tree = _tree(paths)
    if tree is None:
        return None
    types: list[Any] = [_CATEGORY if f.type == "category" else _NUMBER for f in settings.fields]
    types += [_TIMES.get(timestamp.unit, _TIME)] if timestamp else []
    shape = _shape(tree, types)
    categories = [(i, f.name) for i, f in enumerate(settings.fields) if f.type == "category"]
    array = list[float | None]
    decode = msgspec.json.Decoder(shape.struct if categories else shape.struct | array, dec_hook=_refuse).decode
    arranged = _arranger(shape.order)
    width = len(settings.fields)

    def read(text: str, codes: dict[str, float]) -> Row:
        found = decode(text)
        if isinstance(found, list):
            if len(found) != width:
                raise ValueError(len(found))
            return tuple(found), float("nan")
        values = arranged(shape.flatten(found))
        time = seconds(values[width], timestamp.unit) if timestamp else float("nan")
        if categories:
            columns = list(values)
            for i, name in categories:
                columns[i] = category(name, columns[i], codes)
            values = tuple(columns)
        return values[:width], time

    return read


def _refuse(kind: type, value: object) -> object:
    raise ValueError(kind, value)


def _tree(paths: Sequence[str]) -> Tree | None:
    """Return the paths as a tree whose leaves are their positions, or None where one is another's or its prefix."""
    root: Tree = {}
    for position, path in enumerate(paths):
        *heads, leaf = path.split(".")
        node = root
        for head in heads:
            below = node.setdefault(head, {})
            if not isinstance(below, dict):
                return None
            node = below
        if leaf in node:
            return None
        node[leaf] = position
    return root


def _shape(tree: Tree, types: Sequence[Any]) -> _Shape:
    """Return the struct of one level: its leaves, then the levels below, then the keys that must not be there."""
    leaves = {key: below for key, below in tree.items() if isinstance(below, int)}
    children = {key: _shape(below, types) for key, below in tree.items() if isinstance(below, dict)}
    keys = [*leaves, *children, *_literals(tree)]
    kinds = [types[i] for i in leaves.values()] + [child.struct | None for child in children.values()]
    kinds += [_Never] * (len(keys) - len(kinds))
    names = [f"m{i}" for i in range(len(keys))]
    members = [(name, kind, None) for name, kind in zip(names, kinds, strict=True)]
    struct = msgspec.defstruct("Level", members, rename=dict(zip(names, keys, strict=True)), gc=False)
    below = [child.flatten for child in children.values()]
    order = (*leaves.values(), *(i for child in children.values() for i in child.order))
    return _Shape(struct, _flattener(len(leaves), below, (None,) * len(order)), order)


def _flattener(n_leaves: int, below: Sequence[Callable[[Any], Values]], absent: Values) -> Callable[[Any], Values]:
    def flatten(level: Any) -> Values:  # noqa: ANN401 - a struct made at run time, or None
        if level is None:
            return absent
        found = astuple(level)
        values = found[:n_leaves]
        for inner, one in zip(below, found[n_leaves:], strict=False):
            values += inner(one)
        return values

    return flatten


def _literals(tree: Tree) -> Iterator[str]:
    """Yield the dotted rests of paths at this level: as literal keys they would win over descending."""
    for key, below in tree.items():
        if isinstance(below, dict):
            yield from (f"{key}.{rest}" for rest in _rests(below))


def _rests(tree: Tree) -> Iterator[str]:
    for key, below in tree.items():
        yield from ([key] if isinstance(below, int) else (f"{key}.{rest}" for rest in _rests(below)))


def _arranger(order: Sequence[int]) -> Callable[[Values], Values]:
    """Return the function that puts flattened values into the order of the paths."""
    if list(order) == sorted(order):
        return lambda values: values
    return itemgetter(*(order.index(position) for position in range(len(order))))
