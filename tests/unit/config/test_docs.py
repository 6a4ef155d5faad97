"""Every key is documented with its type, default and meaning, and nothing else is."""

import json
import re
from pathlib import Path

import yaml
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


def alternatives(text):
    """Return a YAML text with its commented alternatives put in: comments that are a key, or what stands in one."""
    while (more := re.sub(r"(?m)^( *)# (?=(?: {2,})?(?:# )?[a-z_]+:(?: |$))", r"\1", text)) != text:
        text = more
    return text


def shown(node, schema, known):
    """Yield (definition, key) for every key that a YAML node holds, whose definitions one after the other may fit."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from shown(item, [s["items"] for s in schema if "items" in s], known)
    if not isinstance(node, yaml.MappingNode):
        return
    keys = [(key.value, value) for key, value in node.value]
    tag = dict(keys).get("type")
    fitting = [s for s in resolved(schema, known) if tag is None or takes(s, tag.value)]
    for key, value in keys:
        inner = [s["properties"][key] for s in fitting if key in s.get("properties", {})]
        inner += [s["additionalProperties"] for s in fitting if isinstance(s.get("additionalProperties"), dict)]
        assert inner, f"full.yaml: {key} is no key there (line {value.start_mark.line + 1})"
        for s in fitting:
            if key in s.get("properties", {}):
                yield s["name"], key
        yield from shown(value, [*resolved(inner, known)], known)


def resolved(schemas, known):
    """Yield the definitions that schemas stand for."""
    for schema in schemas:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            yield {**known[name], "name": name}
        elif "anyOf" in schema or "oneOf" in schema:
            yield from resolved(schema.get("anyOf", []) + schema.get("oneOf", []), known)
        else:
            yield schema


def takes(schema, tag):
    """Return whether a definition is of this type."""
    kind = schema.get("properties", {}).get("type", {})
    choices = [kind, *kind.get("anyOf", [])]
    return not kind or any(c.get("const") == tag or tag in c.get("enum", ()) for c in choices)


def test_the_full_example_shows_every_key():
    """Comments count where they are alternatives: uncommented, each of their keys must be one of the schema's."""
    schema = json.loads((ROOT / "docs" / "streamgmm.schema.json").read_text())
    known = schema["$defs"] | {"Config": schema}
    node = yaml.compose(alternatives((ROOT / "config" / "full.yaml").read_text()))
    found = set(shown(node, [{"$ref": "#/$defs/Config"}], known))
    every = {(name, key) for name, definition in known.items() for key in definition["properties"]}
    assert every - found == set()
