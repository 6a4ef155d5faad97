"""Contract suites find the members of a family by themselves: a new file is under test the moment it exists.

What a suite cannot know (how to fill a source, what a codec's payload looks like) stands in its table of rigs.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypeVar

import pytest

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated door of importlib, once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from streamgmm.demo.broker import Broker

R = TypeVar("R")


@pytest.fixture
def rig_of() -> Callable[[str, str, Mapping[str, R]], R]:
    def find(family: str, name: str, rigs: Mapping[str, R]) -> R:
        if name not in rigs:
            pytest.fail(f"{family}/{name}.py has no rig: add one to RIGS in tests/conformance/test_{family}.py")
        return rigs[name]

    return find


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    from streamgmm.demo.broker import Broker

    with Broker() as running:
        yield running
