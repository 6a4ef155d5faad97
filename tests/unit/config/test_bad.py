"""One bad file for each rule; what must be said stands on top of it."""

import ast
import re
from pathlib import Path

import pytest

from streamgmm.config import load
from streamgmm.errors import ConfigError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
SECRETS = ("hunter2", "1234567")


def comments(path, name):
    prefix = f"# {name}: "
    return [line.removeprefix(prefix) for line in path.read_text().splitlines() if line.startswith(prefix)]


def refusal(path):
    env = dict(item.split("=", 1) for item in comments(path, "env"))
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    return str(caught.value)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_problem_is_told_with_its_place_and_nothing_else(path):
    heads = [line for line in refusal(path).splitlines() if line.startswith(str(path))]
    assert [head.removeprefix(str(path)).lstrip(":").strip() for head in heads] == comments(path, "expects")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_secret_is_quoted(path):
    text = refusal(path)
    assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_caret_stands_under_the_column(path):
    lines = refusal(path).splitlines()
    source = path.read_text().splitlines()
    for head, shown, caret in zip(lines, lines[1:], lines[2:], strict=False):
        if not head.startswith(str(path)) or not caret.endswith("^"):
            continue
        number, column = map(int, head.removeprefix(str(path)).split(":")[1:3])
        assert shown.startswith(f"{number:>6} | ")
        under = shown[len(caret) - 1 : len(caret)]
        assert under.strip() == source[number - 1][column - 1 : column].strip() or under == "*"


def test_there_is_a_bad_file_for_every_rule_of_the_schema():
    """Every sentence that a rule can say is said by some file."""
    rules = Path(__file__).parents[3] / "streamgmm" / "config"
    said = "\n".join(line for path in BAD for line in comments(path, "expects"))
    sources = "\n".join(path.read_text() for path in rules.glob("*.py"))
    assert [phrase for phrase in sentences(sources) if phrase not in said] == []


def sentences(text):
    """Return the longest fixed part of every message that a rule or a value check makes."""
    for call in (node for node in ast.walk(ast.parse(text.replace("from __future__ import annotations", "")))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"Rule", "ValueError", "InterpolationError"}:
            message = call.args[-1]
            if isinstance(message, ast.Constant | ast.JoinedStr):
                yield max(re.split(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", fixed(message)), key=len)


def fixed(message):
    if isinstance(message, ast.Constant):
        return message.value
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in message.values)
