"""Whatever the text, the loader answers with a Config or a ConfigError."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.config import parse
from streamgmm.config.document import from_text
from streamgmm.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEXTS = [path.read_text() for path in sorted((ROOT / "config").glob("*.yaml"))]
PIECES = [
    "\t", "\n", "  ", "{", "}", "[", "]", ": ", "- ", "'", '"', "${", "${X}", "$$", "&a ", "*a", "!!python/none ", "? ",
    "| \n", "%", "@", "---\n", "...\n", "<<: ", "null", "true", "-1", "1e400", ".nan", "0", "\x00", "\ud800", "\u2028",
    "é",    '"\\uD800"', '"\\UFFFFFFFF"', "\x85", "#", "replicas: 2\n", "type: file", "9" * 5000,
]  # fmt: skip
ENV = {"X": "x: [y"}


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.sampled_from([*PIECES, "", text[stop : stop + 20]])) + text[stop:]
    return text


def outcome(config):
    try:
        parse(config, env=ENV)
    except ConfigError as error:
        told = str(error)
    else:
        return
    assert told.strip()
    told.encode()


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_mutated_files(text):
    outcome(text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from(list("ab:-[]{}\"'\n \t#&*!|>%@`,?$\\0.~\x85\ufeff\U0001f600")), max_size=60))
def test_any_text(text):
    outcome(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = ["source", "codec", "features", "model", "learning", "detection", "sinks", "dead_letters", "state", "http",
            "logging", "limits", "replicas"]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES, max_size=4))
def test_any_mapping(mapping):
    outcome(mapping)


def leaves(node, path=()):
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield (*path, key)
            yield from leaves(node[key], (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere(data):
    whole = yaml.safe_load(TEXTS[0])
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(list(leaves(whole))))
        node = whole
        for key in above:
            node = node[key]
        node[last] = data.draw(VALUES)
    outcome(whole)


@settings(max_examples=100, deadline=None)
@given(mutated())
def test_marks_lie_inside_the_text(text):
    document = from_text(text, ENV)
    for mark in document.marks.values():
        assert 0 <= mark.line < len(document.lines)
        assert 0 <= mark.column <= len(document.lines[mark.line])
