import os
from pathlib import Path

import pytest

from streamgmm.config import Config, load, parse
from streamgmm.config.document import resolve
from streamgmm.config.interpolation import InterpolationError, expand
from streamgmm.errors import ConfigError

HERE = Path(__file__).parent
MINIMAL = (HERE / "minimal.yaml").read_text()  # the two files that the public contract promises to load as they stand
FULL = (HERE / "full.yaml").read_text()


def test_the_minimal_example_loads_as_it_stands():
    config = parse(MINIMAL)
    assert config.source.all_topics == ("vectors",)
    assert config.source.group_id == "streamgmm"
    assert config.codec.names == ("temperature", "pressure", "flow")
    assert config.sinks[0].topic == "anomalies"
    assert config.dead_letter_topics() == ("vectors-dead-letters",)
    assert config.http.address == ("127.0.0.1", 8642)


def test_the_full_example_loads_as_it_stands():
    config = parse(FULL)
    assert config.source.bootstrap_servers == ("b1:9093", "b2:9093")
    assert config.source.client.session_timeout_ms == 10000
    assert [(f.name, f.path, f.type) for f in config.codec.fields] == [
        ("x0", "x0", "number"), ("load", "host.load.1m", "number"), ("state", "state", "category"),
    ]  # fmt: skip
    assert config.learning.window.span == 600.0
    assert config.learning.refit_every.duration == 600.0
    assert [spec.type for spec in config.features] == ["log", "difference"]
    assert [sink.type for sink in config.sinks] == ["kafka", "file"]
    assert config.dead_letter_topics() == ("vectors-dead-letters",)


def test_defaults_are_the_stated_ones():
    config = parse(MINIMAL)
    assert (config.model.n_components, config.model.covariance_type) == (4, "full")
    assert (config.learning.window.records, config.learning.window.span) == (1000, 600.0)
    assert (config.learning.refresh_every, config.learning.refit_every.records) == (100, 2000)
    assert (config.learning.min_records, config.learning.refit_every.duration) == (1000, None)
    assert (config.detection.target_rate, config.detection.level) == (0.001, "adaptive")
    assert config.detection.buffer_rows(config.limits.calibration_rows) == 10_000
    assert (config.detection.incident_gap.duration, config.detection.incident_gap.records) == (300.0, 100)
    assert config.codec.max_missing == 0.5


@pytest.mark.parametrize(("rate", "rows"), [(0.1, 5000), (0.002, 5000), (0.001, 10_000), (1e-6, 1_000_000)])
def test_the_default_buffer_follows_the_target_rate_up_to_the_limit(rate, rows):
    config = parse({"detection": {"target_rate": rate}}, require=())
    assert config.detection.buffer_rows(config.limits.calibration_rows) == rows


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600.0), ("60s", 60.0), ("1h", 3600.0), ("500ms", 0.5), ("7d", 604800.0), ("1.5", 1.5)]
)
def test_durations(text, seconds):
    assert parse(f"state: {{interval: {text}}}", require=()).state.interval == seconds


@pytest.mark.parametrize(("text", "size"), [("8MiB", 8 << 20), ("4kB", 4000), ("2048", 2048), ("1 GiB", 1 << 30)])
def test_sizes(text, size):
    limits = {"batch_bytes": "1GiB", "record_bytes": text}
    assert parse({"limits": limits}, require=()).limits.record_bytes == size


def test_an_incident_gap_may_be_a_bare_duration():
    assert parse("detection: {incident_gap: 90s}", require=()).detection.incident_gap.duration == 90.0


def test_servers_may_be_one_string_with_commas():
    config = parse('source: {bootstrap_servers: "a:1, b:2,[::1]:3", topic: x}', require=())
    assert config.source.bootstrap_servers == ("a:1", "b:2", "[::1]:3")


def test_what_a_library_needs_is_less_than_a_daemon():
    assert parse({}, require=()) == Config()
    with pytest.raises(ConfigError, match='the section "codec" is required'):
        parse({"source": {"bootstrap_servers": "a:1", "topic": "t"}}, require=("source", "codec"))


def test_a_mapping_is_told_its_errors_by_path():
    with pytest.raises(ConfigError) as caught:
        parse({"model": {"n_components": 0, "kind": 1}}, name="mine", require=())
    first, second = sorted(str(caught.value).splitlines())
    assert first.startswith("mine: model.kind: unknown key; known keys: ")
    assert second == "mine: model.n_components: should be greater than or equal to 1 (got 0)"


# --- ${VAR}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "1"), ("x${A}y${B}", "x1y2"), ("${C:-3}", "3"), ("${EMPTY:-3}", "3"), ("${EMPTY}", ""),
        ("${C:-}", ""), ("${C:-a:-b}", "a:-b"), ("$$", "$"), ("$${A}", "${A}"), ("$A $", "$A $"), ("${A:?why}", "1"),
        ("${LOOP}", "${A}"),
    ],
)  # fmt: skip
def test_references(text, expected):
    assert expand(text, {"A": "1", "B": "2", "EMPTY": "", "LOOP": "${A}"}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${C}", "C is not set"), ("${C:?ask the admin}", "ask the admin"), ("${EMPTY:?needed}", "needed"),
        ("${", "not a reference"), ("${}", "not a reference"), ("${A", "not a reference"),
        ("${A:+b}", "not a reference"),
        ("${A:-${B}}", "cannot hold"),
    ],
)  # fmt: skip
def test_references_that_cannot_be_replaced(text, message):
    with pytest.raises(InterpolationError, match=message):
        expand(text, {"A": "1", "EMPTY": ""})


def test_a_variable_takes_the_type_its_key_wants():
    text = """\
model: {n_components: "${N}", committee: single}
detection: {target_rate: "${RATE:-0.01}"}
codec: {fields: ["${N}"]}
source: {bootstrap_servers: "${BROKERS}", topic: t, security: {check_hostname: "${CHECK}"}}
http:
  listen: ${LISTEN:-null}
"""
    env = {"N": "3", "BROKERS": "a:1,b:2", "CHECK": "false"}
    config = parse(text, env=env, require=())
    assert config.model.n_components == 3
    assert config.detection.target_rate == 0.01
    assert config.codec.names == ("3",)
    assert config.source.bootstrap_servers == ("a:1", "b:2")
    assert config.source.security.check_hostname is False
    assert config.http.listen is None


def test_a_variable_cannot_bring_yaml():
    config = parse("codec: {fields: ['$${A}', '${A}']}", env={"A": "x], max_missing: 1, y: [z"}, require=())
    assert config.codec.names == ("${A}", "x], max_missing: 1, y: [z")


def _single(n_components):
    return {"model": {"n_components": n_components, "committee": "single"}}


def test_the_environment_is_the_process_s_unless_given(monkeypatch):
    monkeypatch.setenv("STREAMGMM_TEST_N", "5")
    assert parse("model: {n_components: '${STREAMGMM_TEST_N}', committee: single}", require=()).model.n_components == 5
    with pytest.raises(ConfigError):
        parse("model: {n_components: '${STREAMGMM_TEST_N}'}", env={}, require=())
    assert parse(_single("${N}"), env={"N": "6"}, require=()).model.n_components == 6


# --- secrets


def secured(password):
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "svc", "password": password}
    return {"source": {"bootstrap_servers": "a:1", "topic": "t", "security": security}}


def test_secrets_are_read_but_never_shown():
    config = parse(secured("${PW}"), env={"PW": "012345"}, require=())
    assert config.source.security.password.get_secret_value() == "012345"
    redacted = config.redacted()
    assert redacted["source"]["security"]["password"] == "**********"
    for shown in (repr(config), str(config), str(redacted), config.model_dump_json()):
        assert "012345" not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        "source: {security: {password: [hunter2, 3]}}",
        "source: {security: {password: {hunter2: 1}}}",
        "source: {password: hunter2}",
        "sasl_password: hunter2",
        "api_token: hunter2",
        "source:\n  security:\n    password: |\n      hunter2\n    bogus: hunter2\n",
        "source: {security: {protocol: ${PW}}}",
        "source: {topic: '${PW}x y'}",
        "source:\n  security:\n    password: 'x\n      hunter2\n",
        "source:\n  security:\n    password: hunter2\n   bad: [\n",
        "source: {security: {password: @hunter2}}",
        "source: {security: {password: %hunter2}}",
        "source: {security: {password: &hunter2 x}}",
        "source: {security: {password: !hunter2 x}}",
        "source: {security: {password: hunter2}, security: {password: hunter2}}",
        "source:\n  security:\n    mechanism: PLAIN\n      password:hunter2\n",
        "source:\n  security:\n    mechanism: PLAIN\n      kennwort:hunter2\n",
        "source:\n  topic: rows\n    password:hunter2\n  group_id: 3\n",
        "source: {topic: 'rows kennwort:hunter2'}",
        "source: {security: {password: 'a${hunter2}b'}}",
        "source: {security: {password: '${hunter2'}}",
        "source: {pwd: hunter2}",
        "source: {kennwort: hunter2}",
        "kennwort: {inside: [hunter2]}",
        "source: {basic_auth: 'u:hunter2'}",
        'source: {client: {sasl_jaas_config: \'x username="u" pwd="hunter2";\'}}',
        "source: {'kennwort:hunter2': }",
        "source: {bootstrap_servers: 'user:hunter2@h:1'}",
        "source: {bootstrap_servers: ['h:1', 'user:hunter2@h:1']}",
        "sinks: [{topic: 'user:hunter2@host'}]",
        "source:\n  kennwort: hunter2\n   bad: [\n",
        "source:\n   bad: [\n  x: hunter2 ]\n",
        "source:\n  topic: user:hunter2@h\n   bad: [\n",
        "sinks: [{topic: '${PW}'}, {topic: '${PW}'}]",
    ],
)
def test_no_error_quotes_a_secret(wrong):
    with pytest.raises(ConfigError) as caught:
        parse(wrong, env={"PW": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_secret_loses_one_line_feed(ending):
    for text, env in (("${PW}", {"PW": f"pass{ending}"}), (f"pass{ending}", {})):
        assert parse(secured(text), env=env, require=()).source.security.password.get_secret_value() == "pass"
    twice = parse(secured("${PW}"), env={"PW": "pass\n\n"}, require=())
    assert twice.source.security.password.get_secret_value() == "pass\n"


def test_an_unset_variable_is_named_also_for_a_secret():
    with pytest.raises(ConfigError, match="variable KAFKA_PW is not set"):
        parse(secured("${KAFKA_PW}"), env={}, require=())


# --- what is no configuration at all


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("10", 10), ("1_000", 1000), ("-1.5", -1.5), ("no", "no"), ("true", True), ("~", None),
        ("", None), ("1:30", "1:30"), ("0x10", "0x10"), ("2024-01-01", "2024-01-01"), (".5", 0.5), ("1.", 1.0),
        ("9" * 5000, "9" * 5000), ("-.inf", -float("inf")),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_laughs_do_not_multiply():
    lines = ["a: &a [lol]"] + [f"{c}: &{c} [*{chr(ord(c) - 1)}, *{chr(ord(c) - 1)}]" for c in "bcdefghij"]
    with pytest.raises(ConfigError, match="anchors and aliases"):
        parse("\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 100_000, "a: " * 50_000])
def test_deep_nesting_ends_early(text):
    with pytest.raises(ConfigError):
        parse(text)


def test_a_huge_text_is_refused_unread():
    with pytest.raises(ConfigError, match="longer than 256 KiB"):
        parse("a: 1\n" * 100_000)


def test_a_deep_mapping_is_refused():
    deep = {}
    inner = deep
    for _ in range(10_000):
        inner["x"] = {}
        inner = inner["x"]
    with pytest.raises(ConfigError, match="nested deeper"):
        parse({"model": deep})


def test_many_problems_are_cut():
    with pytest.raises(ConfigError, match="… and 53 more") as caught:
        parse({f"key{i}": 1 for i in range(100)})
    assert len(str(caught.value).splitlines()) == 51


def test_terminal_escapes_are_not_printed():
    with pytest.raises(ConfigError) as caught:
        parse('"\\e[31mred": 1\n', require=())
    assert "\x1b" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for path, message in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0b", "is no file name"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("source: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 at byte 8"):
        load(latin)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load(os.fspath(path)).sinks[0].topic == "anomalies"


def test_a_config_is_frozen():
    config = parse(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.model.n_components = 5
