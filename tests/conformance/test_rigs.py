"""A member without a rig fails with a sentence that says what to do."""

from __future__ import annotations

import pytest


def test_a_member_without_a_rig_is_told_where_to_add_one(rig_of):
    assert rig_of("sinks", "known", {"known": 1}) == 1
    with pytest.raises(pytest.fail.Exception, match=r"sinks/new\.py has no rig: add one to RIGS in tests/conformance"):
        rig_of("sinks", "new", {"known": 1})
