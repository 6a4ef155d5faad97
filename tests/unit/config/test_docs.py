"""Every key is documented with its type, default and meaning, and nothing else is."""

import re
from pathlib import Path

from config_tables import rows, sections

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "configuration.md").read_text()


def documented():
    """Return heading → rows of its table."""
    found = {}
    for heading, text in re.findall(r"^##+ (.*?)\n(.*?)(?=^##+ |\Z)", PAGE, re.DOTALL | re.MULTILINE):
        table = [line for line in text.splitlines() if line.startswith("| `")]
        if table:
            found[heading] = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table]
    return found


def test_every_section_is_documented_and_nothing_else():
    assert list(documented()) == [heading for heading, _ in sections()]


def test_every_key_is_documented_and_nothing_else():
    page = documented()
    for heading, section in sections():
        expected = [tuple(cell.strip() for cell in row) for row in rows(section)]
        assert page[heading] == expected, heading


def test_the_full_example_shows_every_key():
    text = (ROOT / "config" / "full.yaml").read_text()
    for heading, section in sections():
        for key in section.model_fields:
            assert re.search(rf"(?<![\w.-]){key}\b", text), f"{heading}: {key}"
