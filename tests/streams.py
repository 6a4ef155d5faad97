"""Seeded streams: rows of a mixture, rows that are far from it, and payloads that are no rows at all."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

COMPONENTS = 3
FAR = (30.0, 40.0)


class Mixture:
    """Three correlated Gaussians in `d` dimensions, in units as different as real columns have."""

    def __init__(self, d: int, seed: int) -> None:
        rng = np.random.default_rng([seed, d])
        self.names = tuple(f"x{i}" for i in range(d))
        self._units = 10.0 ** rng.uniform(-2, 3, d)
        self._means = rng.normal(0.0, 2.0, (COMPONENTS, d))
        self._factors = np.eye(d) + rng.normal(0.0, 0.5 / np.sqrt(d), (COMPONENTS, d, d))
        within = np.mean([np.diag(f @ f.T) for f in self._factors], axis=0)
        self._mean = self._means.mean(axis=0)
        self._stddev = np.sqrt(within + self._means.var(axis=0))

    def rows(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return rows (n, d)."""
        which = rng.integers(COMPONENTS, size=n)
        noise = np.einsum("nij,nj->ni", self._factors[which], rng.normal(size=(n, len(self.names))))
        return (self._means[which] + noise) * self._units

    def far(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return rows (n, d) of which every column is at least 30 standard deviations of the whole stream away.

        Signs are drawn anew for every row: having learnt some of them makes the next ones no more probable.
        """
        signs = rng.choice([-1.0, 1.0], (n, len(self.names)))
        return (self._mean + signs * rng.uniform(*FAR, signs.shape) * self._stddev) * self._units


class Malformed(NamedTuple):
    """A payload that cannot be scored, and why."""

    value: bytes
    reason: str


def packed(row: np.ndarray) -> bytes:
    """Return a row as the codec `float32` reads it."""
    return row.astype("<f4").tobytes()


def as_json(names: tuple[str, ...], row: np.ndarray) -> bytes:
    """Return a row as the codec `json` reads it."""
    return json.dumps(dict(zip(names, row.tolist(), strict=True))).encode()


def malformed_float32(number: int, d: int, rng: np.random.Generator, oversize: int) -> Malformed:
    """Return the number-th of an endless list: every reason that packed floats can be rejected for, all distinct."""
    row = rng.normal(size=d)
    kind = number % 5
    if kind == 0:
        return Malformed(packed(row)[: int(rng.integers(1, 4 * d))], "dimension")
    if kind == 1:
        row[rng.integers(d)] = np.inf * rng.choice([-1, 1])
        return Malformed(packed(row), "non_finite")
    if kind == 2:
        row[rng.permutation(d)[: d // 2 + 1]] = np.nan
        return Malformed(packed(row), "schema")
    if kind == 3:
        return Malformed(f"{{not floats, number {number}".encode().ljust(4 * d + 1, b"!"), "dimension")
    return Malformed(rng.bytes(oversize + 1), "oversize")


def malformed_json(names: tuple[str, ...], oversize: int) -> list[Malformed]:
    """Return one payload or more for every reason that JSON can be rejected for."""
    good = dict.fromkeys(names, 1.0)
    first = names[0]
    return [
        Malformed(b"\xff\xfe not JSON \x00", "decode"),
        Malformed(json.dumps(good).encode()[:-2], "decode"),
        Malformed(b"", "decode"),
        Malformed(json.dumps(good | {first: "warm"}).encode(), "schema"),
        Malformed(json.dumps(dict.fromkeys(names)).encode(), "schema"),
        Malformed(json.dumps(good).replace("1.0", "1e999", 1).encode(), "non_finite"),
        Malformed(json.dumps([1.0] * (len(names) + 1)).encode(), "dimension"),
        Malformed(json.dumps(good | {"comment": "x" * oversize}).encode(), "oversize"),
    ]
