"""Keys and their slots: bounded, the one used longest ago leaves, and nothing depends on how blocks were cut."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.features import Pipeline
from streamgmm.features._keys import KeyTable
from streamgmm.records import ByteColumn

KEYS = st.lists(st.one_of(st.none(), st.binary(max_size=3), st.sampled_from([b"0123456" * n for n in range(4)])))


def naive(keys, capacity):
    """Return slots and what is fresh, by an ordered dictionary."""
    slots, out, fresh = OrderedDict(), [], []
    for key in keys:
        fresh.append(key not in slots)
        if key not in slots:
            slots[key] = slots.popitem(last=False)[1] if len(slots) == capacity else len(slots)
        slots.move_to_end(key)
        out.append(slots[key])
    return out, fresh


@given(keys=KEYS, capacity=st.integers(1, 5), cuts=st.lists(st.integers(0, 20), max_size=3), restart=st.booleans())
def test_slots_are_those_of_the_twin_whatever_the_blocks(keys, capacity, cuts, restart):
    table, slots, fresh = KeyTable(capacity), [], []
    for start, stop in pairwise(sorted({0, *(min(c, len(keys)) for c in cuts), len(keys)})):
        if restart:
            state, table = table.state(), KeyTable(capacity)
            assert table.restore(state) is None
        one, new = table.slots(ByteColumn.from_values(keys[start:stop]))
        slots += one.tolist()
        fresh += new.tolist()
    assert (slots, fresh) == naive(keys, capacity)


def test_many_keys_come_and_go(rng):
    keys = [str(k).encode() for k in rng.zipf(1.3, size=20_000)]
    slots, fresh = KeyTable(300).slots(ByteColumn.from_values(keys))
    assert (slots.tolist(), fresh.tolist()) == naive(keys, 300)


def test_a_smaller_table_keeps_the_latest_keys():
    table = KeyTable(4)
    table.slots(ByteColumn.from_values([b"a", b"b", b"c", b"d", b"a"]))
    smaller = KeyTable(2)
    assert smaller.restore(table.state()).tolist() == [3, 0]
    slots, fresh = smaller.slots(ByteColumn.from_values([b"a", b"d", b"b"]))
    assert slots.tolist() == [1, 0, 1]
    assert fresh.tolist() == [False, False, True]


def test_an_evicted_key_begins_anew_and_the_others_do_not():
    pipeline = Pipeline.build([{"type": "difference", "fields": ["x"]}], ["x"], keys=2)
    keys = ByteColumn.from_values([b"a", b"b", b"a", b"c", b"a", b"b"])
    out = pipeline.apply(np.array([[1.0], [10.0], [2.0], [100.0], [4.0], [11.0]]), keys=keys)
    assert out[:, 1].tolist() == [0, 0, 1, 0, 2, 0]


def test_fewer_keys_after_a_restart_keep_their_state():
    spec = [{"type": "ewma", "fields": ["x"]}, {"type": "lag", "fields": ["x"], "by": "stream"}]
    pipeline = Pipeline.build(spec, ["x"], keys=8)
    pipeline.apply(np.arange(4.0)[:, None], keys=ByteColumn.from_values([b"a", b"b", b"c", b"a"]))
    smaller = Pipeline.build(spec, ["x"], keys=2)
    smaller.restore(pipeline.state())
    keys = ByteColumn.from_values([b"a", b"c", b"b"])
    X = np.full((3, 1), 9.0)
    one, other = pipeline.apply(X, keys=keys), smaller.apply(X, keys=keys)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert other[2].tolist() == [9.0, 0.0, 9.0], "b had to go"


@given(keys=KEYS.filter(bool), cut=st.integers(0, 20), data=st.data())
def test_derived_columns_do_not_depend_on_blocks_or_restarts(keys, cut, data):
    specs = [{"type": kind, "fields": ["x"]} for kind in ("difference", "lag", "ewma", "activity")]
    X = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=len(keys), max_size=len(keys))))[:, None]
    whole = Pipeline.build(specs, ["x"], keys=3).apply(X, keys=ByteColumn.from_values(keys))
    first, second = (Pipeline.build(specs, ["x"], keys=3) for _ in range(2))
    parts = [first.apply(X[:cut], keys=ByteColumn.from_values(keys[:cut]))]
    second.restore(first.state())
    parts.append(second.apply(X[cut:], keys=ByteColumn.from_values(keys[cut:])))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
