"""The order of tests: another one for each seed, the same for the same, and files stay together."""

from itertools import groupby
from types import SimpleNamespace

from shuffle import VARIABLE, Shuffle, shuffled

ITEMS = [SimpleNamespace(path=f"file {f}", name=f"{f}.{i}") for f in range(5) for i in range(8)]


def names(items):
    return [item.name for item in items]


def test_a_seed_is_an_order():
    assert names(shuffled(ITEMS, 1)) == names(shuffled(ITEMS, 1))
    assert names(shuffled(ITEMS, 1)) != names(shuffled(ITEMS, 2))
    assert sorted(names(shuffled(ITEMS, 1))) == sorted(names(ITEMS))


def test_files_stay_together_and_change_places():
    files = [path for path, _ in groupby(shuffled(ITEMS, 1), key=lambda item: item.path)]
    assert len(files) == 5
    assert files != sorted(files)


def test_the_order_is_said_and_can_be_kept(monkeypatch):
    monkeypatch.setenv(VARIABLE, "7")
    assert f"{VARIABLE}=7 repeats it" in Shuffle().pytest_report_header()
    monkeypatch.setenv(VARIABLE, "none")
    items = list(ITEMS)
    Shuffle().pytest_collection_modifyitems(items)
    assert items == ITEMS
    monkeypatch.delenv(VARIABLE)
    assert Shuffle().pytest_report_header() != Shuffle().pytest_report_header()
