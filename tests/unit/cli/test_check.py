import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamgmm import cli, probe
from streamgmm.bus import check as bus_check
from streamgmm.bus import client
from streamgmm.cli.check import absent_files
from streamgmm.codecs import Field
from streamgmm.config import parse
from streamgmm.errors import ConfigError, RetryableError
from streamgmm.probe import Finding, findings
from streamgmm.records import FeatureBatch

ROOT = Path(__file__).parents[3]
MINIMAL = ROOT / "config" / "minimal.yaml"
ROWS = ['{"a": 1, "b": 2}', '{"a": 3.5, "b": null}']


def written(path, text):
    path.write_text(text)
    return str(path)


def file_config(folder, rows, **more):
    (folder / "rows.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return {
        "source": {"type": "file", "path": str(folder / "rows.jsonl")},
        "codec": {"fields": ["a", "b"]},
        "sinks": [{"type": "file", "path": str(folder / "out.jsonl")}],
        "state": {"dir": str(folder / "state" / "deep")},
        **more,
    }


def kafka_config(**more):
    return {
        "source": {"bootstrap_servers": "one:1,two:2", "topics": ["a", "b"]},
        "codec": {"fields": ["a", "b"]},
        "sinks": [{"topic": "anomalies"}],
        **more,
    }


# --- offline


def test_a_good_file_is_ok_and_says_what_would_run(capsys, monkeypatch):
    monkeypatch.delenv("KAFKA", raising=False)
    assert cli.main(["check", "-c", str(MINIMAL)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{MINIMAL}: ok\n")
    for said in ("kafka vectors at localhost:9092", "temperature, pressure, flow", "vectors-dead-letters", "0.001"):
        assert said in out
    assert err == ""


def test_a_bad_file_is_told_on_stderr_with_exit_code_78(capsys, tmp_path):
    path = written(tmp_path / "bad.yaml", MINIMAL.read_text() + "model: {n_componets: 4}\n")
    assert cli.main(["check", "-c", path]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert f'{path}:10:9: model.n_componets: unknown key; did you mean "n_components"?' in err


def test_files_that_are_not_here_are_told_but_no_error(capsys):
    assert cli.main(["check", "-c", str(ROOT / "config" / "full.yaml")]) == 0
    assert "source.security.ca_file: there is no file /etc/streamgmm/ca.pem here" in capsys.readouterr().err


def test_the_schema_is_printed(capsys):
    assert cli.main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "streamgmm configuration"


def test_a_file_or_the_schema_must_be_asked_for(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["check"])
    assert caught.value.code == 2
    assert "one of the arguments" in capsys.readouterr().err


def test_checking_imports_nothing_heavy():
    code = f"""
import sys
from streamgmm.cli import main
assert main(["check", "-c", {str(MINIMAL)!r}]) == 0
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "numba", "scipy", "kafka", "prometheus_client"} & set(done.stdout.splitlines()[-1].split())


# --- online, without brokers


def test_a_file_source_is_read_and_decoded(tmp_path):
    found = list(findings(parse(file_config(tmp_path, ROWS))))
    assert all(finding.ok for finding in found), found
    assert Finding(True, "vectors", "the first 2\n        a  1  3.5\n        b  2  missing") in found
    assert not (tmp_path / "state").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_records_that_would_be_rejected_are_told(tmp_path):
    found = list(findings(parse(file_config(tmp_path, ['{"a": "x", "b": 2}']))))
    assert [f.detail.partition(":")[0] for f in found if not f.ok] == ["would be rejected (schema)"]


def test_an_empty_source_is_fine(tmp_path):
    assert list(findings(parse(file_config(tmp_path, []))))[-1] == Finding(True, "records", "there are no records yet")


def test_folders_and_files_that_are_missing_fail_with_1(tmp_path, capsys):
    config = file_config(tmp_path, ROWS, sinks=[{"type": "file", "path": str(tmp_path / "no" / "out.jsonl")}])
    path = written(tmp_path / "config.yaml", json.dumps(config))
    assert cli.main(["check", "-c", path, "--online"]) == 1
    assert f"FAILED  file {tmp_path}/no/out.jsonl: there is no folder {tmp_path}/no" in capsys.readouterr().out
    (tmp_path / "rows.jsonl").unlink()
    assert next(f.what for f in findings(parse(config)) if not f.ok) == f"file {tmp_path}/rows.jsonl"


def test_a_state_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "state").write_text("")
    found = probe.writable(tmp_path / "state", "state")
    assert found == Finding(False, "state", f"{tmp_path}/state is not a folder")


# --- online, brokers


class Brokers:
    """Stands for bus.check and bus.client.admin; remembers what was asked."""

    def __init__(self, monkeypatch, error=None, finding=None, values=()):
        self.asked = []
        self._error, self._finding, self._values = error, finding, values
        monkeypatch.setattr(client, "admin", self.admin)
        monkeypatch.setattr(bus_check, "diagnose", self.diagnose)
        monkeypatch.setattr(bus_check, "sample", lambda *_: list(self._values))

    def admin(self, _connection):
        if self._error is not None:
            raise self._error
        return self

    def close(self):
        pass

    def diagnose(self, connection, reads, writes, *, group_id):
        self.asked.append((connection.bootstrap_servers, tuple(reads), tuple(writes), group_id))
        return [self._finding or bus_check.Finding(True, "topic", "there")]


def test_outputs_on_the_source_s_brokers_are_asked_with_it(monkeypatch):
    brokers = Brokers(monkeypatch)
    sinks = [
        {"topic": "x"},
        {"topic": "y", "bootstrap_servers": "two:2,one:1"},
        {"topic": "z", "bootstrap_servers": "c:3"},
    ]
    list(findings(parse(kafka_config(sinks=sinks))))
    dead_letters = ("a-dead-letters", "b-dead-letters")
    assert brokers.asked == [
        (("one:1", "two:2"), ("a", "b"), ("x", "y", *dead_letters), "streamgmm"),
        (("c:3",), (), ("z",), None),
    ]


def test_first_vectors_of_a_topic_are_shown(monkeypatch):
    Brokers(monkeypatch, values=[row.encode() for row in ROWS])
    assert list(findings(parse(kafka_config())))[-1] == Finding(
        True, "vectors", "the first 2\n        a  1  3.5\n        b  2  missing"
    )


@pytest.mark.parametrize(("missing", "shown"), [("topic anomalies", True), ("topic b", False)])
def test_vectors_are_shown_unless_the_source_is_what_is_missing(monkeypatch, missing, shown):
    Brokers(monkeypatch, finding=bus_check.Finding(False, missing, "does not exist"), values=[ROWS[0].encode()])
    assert any(finding.what == "vectors" for finding in findings(parse(kafka_config()))) == shown


@pytest.mark.parametrize(
    ("error", "finding", "code"),
    [
        (RetryableError("nobody answers"), None, 75),
        (ConfigError("wrong password"), None, 1),
        (None, bus_check.Finding(False, "topic anomalies", "does not exist"), 1),
        (None, None, 0),
    ],
)
def test_the_exit_code_says_whether_waiting_helps(monkeypatch, tmp_path, error, finding, code, capsys):
    Brokers(monkeypatch, error, finding)
    config = kafka_config(state={"dir": str(tmp_path)})
    assert cli.main(["check", "--online", "-c", written(tmp_path / "config.yaml", json.dumps(config))]) == code
    out = capsys.readouterr().out
    assert ("FAILED" in out) == bool(code)
    assert str(error or "") in out


def test_nobody_listens(tmp_path, free_port):
    """In a process of its own: kafka-python leaves the sockets of refused connections to the garbage collector."""
    config = kafka_config(state={"dir": str(tmp_path)})
    config["source"]["bootstrap_servers"] = f"127.0.0.1:{free_port}"
    path = written(tmp_path / "config.yaml", json.dumps(config))
    code = f"""
from streamgmm.bus import client
from streamgmm.cli.check import absent_files
from streamgmm.codecs import Field
from streamgmm.cli import main
client.CONNECT_SECONDS = 0.5
raise SystemExit(main(["check", "--online", "-c", {path!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert "nothing listens there" in done.stdout


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_secret_that_cannot_be_read_is_a_config_error(tmp_path, capsys):
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password_file": str(tmp_path / "none")}
    config = kafka_config(state={"dir": str(tmp_path)})
    config["source"]["security"] = security
    path = written(tmp_path / "config.yaml", json.dumps(config))
    assert cli.main(["check", "-c", path]) == 0
    assert cli.main(["check", "--online", "-c", path]) == 78
    assert f"source.security.password_file: cannot read {tmp_path}/none: No such file" in capsys.readouterr().err


def test_categories_times_and_many_fields_are_told_in_the_table():
    fields = (Field("mode", "mode", "category"), *(Field(f"x{i}", f"x{i}") for i in range(50)))
    X = np.array([[255.0, *range(50)], [np.nan, *range(50)]])
    decoded = FeatureBatch(X, np.arange(2), np.zeros(2, dtype=np.int64), np.array([0.5, np.nan]))
    lines = probe.table(decoded, fields).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["the", "first", "2"], ["mode", "category", "ff", "missing"], ["x0", "0", "0"],
    ]  # fmt: skip
    assert lines[-2].split() == ["event", "time", "1970-01-01T00:00:00.500", "-"]
    assert lines[-1].strip() == "and 11 more fields"


def test_a_registry_that_is_away_is_told(monkeypatch):
    Brokers(monkeypatch, values=[b"\0\0\0\0\1abc"])
    avro = {"type": "avro", "fields": ["a"], "schema_registry": {"url": "http://127.0.0.1:1", "patience": 0.001}}
    found = list(findings(parse(kafka_config() | {"codec": avro})))[-1]
    assert (found.ok, found.what, found.away) == (False, "codec", True)
    assert "the schema registry at 127.0.0.1:1 is unreachable" in found.detail


def test_files_of_the_codec_that_are_not_here_are_told(tmp_path):
    avro = {"type": "avro", "fields": ["a"], "schema_file": str(tmp_path / "x.avsc")}
    config = parse(kafka_config() | {"codec": avro})
    assert list(absent_files(config)) == [("codec.schema_file", tmp_path / "x.avsc")]
