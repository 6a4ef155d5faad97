"""What a codec is asked for, as tables that a compiled reader of documents can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from streamgmm.codecs import keys_kernels as kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from streamgmm.codecs import CodecSettings
    from streamgmm.codecs._compiled import Quick
    from streamgmm.records import Bools, Floats, Ints

    Tree: TypeAlias = dict[str, "Tree | int"]

# A key longer than this, or half of a surrogate pair, is for the careful reading.
_MOST_KEY_BYTES = 1000
_DECIMALS = {"s": 0, "ms": 3, "us": 6, "ns": 9, "iso": kernels.ISO}


class Tables(NamedTuple):
    """The tables of `keys_kernels`; see there."""

    text: NDArray[np.uint8]
    keys: Ints
    levels: Ints
    positions: Ints
    slots: Ints
    decimals: int
    n_fields: int

    def reader(self, decode: Callable[..., None]) -> Quick:
        """Return how a kernel such as `json_kernels.decode_json` reads records that are asked for these."""

        def read(buffer: NDArray[np.uint8], start: Ints, length: Ints) -> tuple[Floats, Floats, Bools]:
            n = len(start)
            X, time, read = np.empty((n, self.n_fields)), np.empty(n), np.empty(n, dtype=np.bool_)
            decode(buffer, start, length, *self[:6], X, time, read)
            return X, time, read

        return read


class _Key(NamedTuple):
    level: int
    text: bytes
    kind: int
    target: int


def tables(settings: CodecSettings) -> Tables | None:
    """Return the tables of the declared paths; None where one is another's or its prefix, or one is out of measure."""
    timestamp = settings.timestamp
    paths = [f.path for f in settings.fields] + ([timestamp.path] if timestamp else [])
    tree = _tree(paths)
    if tree is None:
        return None
    kinds = [kernels.CATEGORY if f.type == "category" else kernels.NUMBER for f in settings.fields]
    kinds += [kernels.TIME] if timestamp else []
    try:
        keys, positions = _rows(tree, kinds, len(settings.fields))
    except UnicodeEncodeError:
        return None
    if any(len(key.text) > _MOST_KEY_BYTES for key in keys) or max(p.count(".") for p in paths) >= kernels.MOST_LEVELS:
        return None
    text = np.frombuffer(b"".join(key.text + b'"' for key in keys), dtype=np.uint8)
    table = _table(keys)
    slots = np.full(4 << len(keys).bit_length(), -1, dtype=np.int64)
    kernels.fill_slots(text, table, slots)
    first = np.cumsum([0, *(len(p) for p in positions)])
    levels = np.column_stack([first[:-1], [len(p) for p in positions]]).astype(np.int64)
    flat = np.array([g for some in positions for g in some], dtype=np.int64)
    decimals = _DECIMALS[timestamp.unit] if timestamp else 0
    return Tables(text, table, np.ascontiguousarray(levels), flat, slots, decimals, len(settings.fields))


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


def _rows(tree: Tree, kinds: Sequence[int], n_fields: int) -> tuple[list[_Key], list[list[int]]]:
    """Return the keys of every level, and per level the key of each position of an array."""
    array = [_Key(kernels.ARRAY, str(i).encode(), kinds[i], i) for i in range(n_fields)]
    keys, positions = array, [[], list(range(n_fields))]
    waiting = [(kernels.OBJECT, tree)]
    while waiting:
        level, node = waiting.pop()
        at: dict[int, int] = {}
        for key, below in node.items():
            if key.isascii() and key.isdecimal() and len(key) < len("1000000000"):
                at[int(key)] = len(keys)
            if isinstance(below, dict):
                keys.append(_Key(level, key.encode(), kernels.BELOW, len(positions)))
                waiting.append((len(positions), below))
                positions.append([])
            else:
                keys.append(_Key(level, key.encode(), kinds[below], below))
        keys += [_Key(level, key.encode(), kernels.NEVER, 0) for key in _literals(node)]
        positions[level] = [at.get(i, -1) for i in range(max(at, default=-1) + 1)]
    return keys, positions


def _table(keys: Sequence[_Key]) -> Ints:
    table = np.zeros((len(keys), kernels.KEY_COLUMNS), dtype=np.int64)
    at = 0
    for row, key in zip(table, keys, strict=True):
        quoted = key.text + b'"'
        row[kernels.AT], row[kernels.SIZE], row[kernels.LEVEL] = at, len(quoted), key.level
        row[kernels.WORD], row[kernels.MASK] = _word(quoted)
        row[kernels.KIND], row[kernels.TARGET] = key.kind, key.target
        at += len(quoted)
    return table


def _word(quoted: bytes) -> tuple[int, int]:
    """Return up to eight first bytes as a number, and the mask of those that count.

    A key that stands escaped in any document must never look like the beginning of another: no word is 1 under a mask
    of 0.
    """
    if any(byte < ord(" ") or byte in b'"\\' for byte in quoted[:-1]):
        return 1, 0
    word, mask = quoted[:8].ljust(8, b"\0"), (b"\xff" * len(quoted[:8])).ljust(8, b"\0")
    return int.from_bytes(word, "little", signed=True), int.from_bytes(mask, "little", signed=True)


def _literals(tree: Tree) -> Iterator[str]:
    """Yield the dotted rests of paths at this level: as literal keys they would win over descending."""
    for key, below in tree.items():
        if isinstance(below, dict):
            yield from (f"{key}.{rest}" for rest in _rests(below))


def _rests(tree: Tree) -> Iterator[str]:
    for key, below in tree.items():
        yield from ([key] if isinstance(below, int) else (f"{key}.{rest}" for rest in _rests(below)))
