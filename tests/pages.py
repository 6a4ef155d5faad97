"""The page of measurements, whose parts are written by those who measure them."""

from __future__ import annotations

from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def marks(name):
    """Return what stands before and after a part of the page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def replaced(page, name, text):
    """Return a page with what stands between a part's marks exchanged; others' parts stay as they are."""
    begin, end = marks(name)
    head, found, rest = page.partition(begin)
    if not found:
        raise SystemExit(f"the page has no mark {begin}")
    return f"{head}{begin}\n{text.strip()}\n{end}{rest.partition(end)[2]}"


def write(name, text):
    """Exchange a part of docs/benchmarks.md."""
    BENCHMARKS.write_text(replaced(BENCHMARKS.read_text(encoding="utf-8"), name, text), encoding="utf-8")
