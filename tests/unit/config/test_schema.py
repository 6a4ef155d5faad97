"""The published schema, the example files, and what the configuration knows of its neighbours."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from streamgmm.config import load, parse
from streamgmm.config.export import json_schema
from streamgmm.errors import ConfigError

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))
FEATURES = {
    "select": [{"fields": ["b", "a"]}, {"fields": ["a", "c"], "rename": {"a": "z"}}],
    "log": [{"fields": ["a"]}],
    "clip": [{"fields": ["a", "b"], "min": 0.0}],
    "difference": [{"fields": ["c", "a"]}],
    "lag": [{"fields": ["a"]}, {"fields": ["b", "c"], "steps": 3}],
    "ewma": [{"fields": ["b"], "half_life": 10.0}],
    "activity": [{"fields": ["c", "a"], "half_life": 10.0}],
    "calendar": [{"parts": ["hour"], "timezone": "Europe/Berlin"}, {}],
}


def test_the_published_schema_is_in_step():
    published = json.loads((ROOT / "docs" / "streamgmm.schema.json").read_text())
    assert published == json_schema(), "run: streamgmm check --schema > docs/streamgmm.schema.json"


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_property_is_described():
    def undescribed(node, path=()):
        if isinstance(node, list):
            for i, item in enumerate(node):
                yield from undescribed(item, (*path, i))
        elif isinstance(node, dict):
            for name, schema in node.get("properties", {}).items():
                if "description" not in schema:
                    yield (*path, name)
            for key, item in node.items():
                yield from undescribed(item, (*path, key))

    assert list(undescribed(json_schema())) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load_and_validate(path):
    load(path, {})
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())
    assert path.read_text().startswith("# yaml-language-server: $schema=../docs/streamgmm.schema.json\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": {"n_components": 0}}, {"model": {"k": 1}}, {"detection": {"level": "loose"}},
        {"sinks": [{"type": "file"}]}, {"source": {"type": "file"}},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(wrong):
    whole = {**yaml.safe_load((ROOT / "config" / "minimal.yaml").read_text()), **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, json_schema())
    with pytest.raises(ConfigError):
        parse(whole)


def test_references_are_fine_for_the_schema():
    whole = {
        **yaml.safe_load((ROOT / "config" / "minimal.yaml").read_text()),
        "model": {"n_components": "${N:-4}", "committee": "single"},
    }
    jsonschema.validate(whole, json_schema())
    assert parse(whole, env={}).model.n_components == 4


@pytest.mark.parametrize(("name", "options"), [(name, o) for name, specs in FEATURES.items() for o in specs])
def test_features_are_named_as_they_are_built(name, options):
    from streamgmm.features import Pipeline

    names = ("a", "b", "c")
    spec = {"type": name, **options}
    config = parse({"codec": {"fields": list(names)}, "features": [spec]}, require=())
    built = Pipeline.build([config.features[0].model_dump(exclude_none=True)], names)
    assert config.features[0].output_names(names) == built.names


@pytest.mark.parametrize("family", ["sources", "codecs", "features", "sinks"])
def test_every_member_of_a_family_can_be_configured(family):
    from streamgmm import registry

    # memory is for tests and the library
    assert _tags(family) == set(registry.names(family)) - {"memory"}


def _tags(family):
    from streamgmm.config import Config
    from streamgmm.config.problems import _sections
    from streamgmm.config.problems import _tags as tags

    key = {"sources": "source", "codecs": "codec"}.get(family, family)
    return {tag for section in _sections(Config.model_fields[key].annotation) for tag in tags(section)}


def test_reading_a_configuration_imports_nothing_heavy():
    code = "import sys, streamgmm.config; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "numba", "scipy", "kafka", "prometheus_client"} & set(found.split())
