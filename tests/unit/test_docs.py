"""Docs are tests: every command and plug-in is documented, nothing else is, and links lead somewhere.

Config keys and metrics have tables of their own, compared where they are declared.
"""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from streamgmm import cli, config, registry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INDEX = ROOT / "docs" / "index.md"
# What a configuration cannot name: `tests/unit/config/test_schema.py` holds the schema to the same.
IN_PROGRAMS_ONLY = {"memory"}

FENCE = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#([^)]*))?\)")
COMMAND = re.compile(r"(?:^|^\$ |-m )streamgmm ([a-z][a-z-]+)", re.MULTILINE)


def table(title, text=None):
    """Return what stands in the first column of the tables under a heading."""
    text = INDEX.read_text() if text is None else text
    section = re.search(rf"^##+ {title}\n(.*?)(?=^##+ |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, f"docs/index.md has no section {title!r}"
    return ROW.findall(section[1])


def page(path):
    return str(path.relative_to(ROOT))


def test_every_command_is_documented_and_nothing_else():
    documented = table("Commands")
    assert sorted(documented) == sorted(set(documented))
    assert set(documented) == set(cli.commands())


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_every_plugin_is_documented_and_nothing_else(family):
    documented = table(family.capitalize())
    assert sorted(documented) == sorted(set(documented))
    assert set(documented) == set(registry.names(family)) - IN_PROGRAMS_ONLY


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_pages_name_commands_that_exist(path):
    named = {name for block in FENCE.findall(path.read_text()) for name in COMMAND.findall(block)}
    named |= set(re.findall(r"`streamgmm ([a-z][a-z-]+)", path.read_text()))
    assert named <= set(cli.commands())


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_pages_name_options_that_exist(path, capsys):
    """An option after a command of ours in an example is one that the command takes."""
    for block in FENCE.findall(path.read_text()):
        for line in block.splitlines():
            match = re.match(r"^(?:\$ )?streamgmm ([a-z][a-z-]+)(.*)", line)
            if match:
                known = set(re.findall(r"--[a-z-]+", help_of(match[1], capsys)))
                assert set(re.findall(r"--[a-z-]+", match[2])) <= known


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_links_lead_somewhere(path):
    for target, anchor in LINK.findall(path.read_text()):
        file = (path.parent / target).resolve()
        assert file.exists(), f"{page(path)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def blocks(language):
    return [
        pytest.param(block, id=f"{page(path)}-{number}")
        for path in PAGES
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL))
    ]


@pytest.mark.parametrize("block", [p for p in blocks("yaml") if p.id.startswith("README")])
def test_the_first_config_a_user_sees_loads(block, tmp_path):
    (tmp_path / "streamgmm.yaml").write_text(block)
    assert config.load(tmp_path / "streamgmm.yaml").sinks


@pytest.mark.parametrize("block", blocks("python"))
def test_python_examples_run(block):
    exec(compile(block, "example", "exec"), {})


@pytest.mark.parametrize("block", [p for p in blocks("json") if p.id.startswith("README")])
def test_the_example_record_has_fields_of_the_schema(block):
    schema = json.loads((ROOT / "docs" / "anomaly.schema.json").read_text())
    record = json.loads(block)
    assert set(record) <= set(schema["properties"])
    jsonschema.validate(record, schema | {"required": []})


def test_the_test_can_fail():
    text = "## Commands\n\n| command | does |\n|---|---|\n| `run` | x |\n\n## Next\n| `other` | y |\n"
    assert table("Commands", text) == ["run"]
    assert COMMAND.findall("$ streamgmm fly --high\nstreamgmm-thing\nfrom streamgmm import x") == ["fly"]
    assert LINK.findall("[a](b.md#c) [d](https://e) [f](#g)") == [("b.md", "c")]
    assert slug("How a row goes, step by step") == "how-a-row-goes-step-by-step"
