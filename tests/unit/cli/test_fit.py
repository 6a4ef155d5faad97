import io
import json

import numpy as np
import pytest

from streamgmm import StreamDetector, assembly, checkpoint, cli
from streamgmm.config import parse
from streamgmm.engine.core import Engine
from streamgmm.offline.model import open_model
from streamgmm.refit.runners import InlineRunner
from streamgmm.snapshots import SnapshotStore

FIELDS = ("temperature", "pressure", "flow")


def rows(tables):
    return np.loadtxt(tables / "history.csv", delimiter=",", skiprows=1)


def test_the_fit_is_the_engine_s_own_first_fit(tables, fitted):
    own = StreamDetector.from_config({}, fields=FIELDS, warm_up=2000)
    own.process(rows(tables))
    theirs, ours = own.engine.state, open_model(fitted)
    assert ours.detector.version == theirs.detector.version == (1, 0)
    assert ours.member().mixture.means == pytest.approx(theirs.detector.members[0].mixture.means, rel=1e-12)
    assert (ours.calibration.recent == theirs.calibration.recent).all()
    assert len(ours.calibration.recent) == 600
    assert len(ours.window) == 2000


def test_a_daemon_continues_from_it(tables, fitted):
    config = parse({"codec": {"type": "json", "fields": list(FIELDS)}}, require=())
    columns = assembly.pipeline(config, FIELDS)
    settings = assembly.engine_settings(config, columns.names, stems=columns.stems)
    identity = assembly.identity(config, columns)
    restored = checkpoint.unpack(SnapshotStore(fitted).newest(), settings, identity)
    assert restored.covered == {}
    engine = Engine(settings, InlineRunner(lambda: 0.0), restored.state)
    assert engine.status().state == "serving"
    X = columns.apply(rows(tables)[:700])
    scored = engine.step(X, np.full(700, np.nan), np.arange(700, dtype=np.uint64))
    assert (scored.status == 0).all()
    assert engine.state.detector.version > (1, 0)


def test_the_config_is_followed(tables, tmp_path, capsys):
    config = {
        "codec": {"fields": ["flow", "temperature"]},
        "features": [{"type": "lag", "fields": ["flow"]}],
        "model": {"n_components": 2, "covariance_type": "diag", "committee": "single"},
        "learning": {"window": {"records": 1500}},
        "state": {"dir": str(tmp_path / "state")},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    assert cli.main(["fit", "--input", str(tables / "history.csv"), "-c", str(tmp_path / "config.yaml")]) == 0
    out = capsys.readouterr().out
    assert (
        "fitted to 1500 of 2000 rows\n  a fit uses the newest 1500 rows at most (the longest window of a member)" in out
    )
    assert "calibrated by 450 scores; a target rate of 0.001 needs at least 1000" in out
    model = open_model(tmp_path / "state")
    assert model.columns == ("flow", "temperature", "flow.lag")
    assert (model.member().mixture.covariance_type, model.member().mixture.n_components) == ("diag", 2)


def test_what_was_learnt_is_not_replaced(tables, fitted, capsys):
    before = SnapshotStore(fitted).names()
    assert cli.main(["fit", "--input", str(tables / "history.csv"), "--output", str(fitted)]) == 1
    assert "there are snapshots in" in capsys.readouterr().err
    assert SnapshotStore(fitted).names() == before


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ("model: {n_components: 0}", 78, "n_components"),
        ("codec: {fields: [temperature, humidity]}", 1, "no field 'humidity'"),
    ],
)
def test_what_cannot_be_fitted_is_told(tables, tmp_path, capsys, config, code, said):
    (tmp_path / "config.yaml").write_text(config)
    arguments = ["--input", str(tables / "history.csv"), "-c", str(tmp_path / "config.yaml")]
    assert cli.main(["fit", *arguments, "--output", str(tmp_path / "state")]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_infinite_rows_are_told(tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(50, 2))
    X[7, 1] = np.inf
    np.savez(tmp_path / "rows.npz", X=X)
    assert cli.main(["fit", "--input", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "state")]) == 1
    assert "Inf" in capsys.readouterr().err


def test_few_rows_suffice_and_no_rows_do_not(tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(50, 2))
    np.savez(tmp_path / "rows.npz", X=X)
    assert cli.main(["fit", "--input", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "a")]) == 0
    X[3:] = np.nan
    np.savez(tmp_path / "rows.npz", X=X)
    assert cli.main(["fit", "--input", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "b")]) == 1
    assert "3 rows with values are too few" in capsys.readouterr().err


def test_the_bar_shows_both_fits(tables, tmp_path, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", stream)
    cli.main(["fit", "--input", str(tables / "history.csv"), "--output", str(tmp_path / "state")])
    assert "fit 1 of 8, pass 1, log-likelihood -" in stream.getvalue()
    # Seven, because the temporal member has no say about rows in no order, and is not fitted twice.
    assert "fit 7 of 8, pass 20, log-likelihood -" in stream.getvalue()


def test_rows_with_missing_cells_are_learnt(tables, tmp_path):
    X = np.loadtxt(tables / "history.csv", delimiter=",", skiprows=1)
    X[np.arange(2000), np.arange(2000) % 3] = np.nan
    np.savez(tmp_path / "rows.npz", X=X)
    assert cli.main(["fit", "--input", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "state")]) == 0
    found = open_model(tmp_path / "state")
    assert (len(found.window), len(found.calibration.recent)) == (2000, 600)
    assert found.score([[20.0, 1.2e5, 2e-3]], 0.001).p_value[0] < found.score([[20.0, 1e5, 5e-3]], 0.001).p_value[0]


MIXED = "codec: {fields: [a, b, {name: mode, type: category}], timestamp: {path: when, unit: iso}}\n"


@pytest.fixture
def mixed(tmp_path):
    """A file with an index, times, a category, numbers and a text that nobody asks for, and its configuration."""
    rng = np.random.default_rng(0)
    rows = [
        f"{i},2024-01-01T{i // 60:02}:{i % 60:02}:00Z,{'idle' if i % 3 else 'busy'},{a},{b if i != 7 else 'NULL'},x-{i}"
        for i, (a, b) in enumerate(rng.normal(size=(900, 2)))
    ]
    (tmp_path / "mixed.csv").write_text("\n".join([",when,mode,a,b,note", *rows, "", ""]))
    (tmp_path / "mixed.yaml").write_text(MIXED)
    return tmp_path


@pytest.mark.parametrize("configured", [True, False])
def test_a_table_of_times_an_index_and_texts_goes_through_every_command(mixed, capsys, configured):
    given = ["--input", str(mixed / "mixed.csv"), *(["-c", str(mixed / "mixed.yaml")] if configured else [])]
    fields = "a, b, mode" if configured else "a, b"
    for command in (
        ["fit", *given, "--output", str(mixed / "state")],
        ["select", *given, "--components", "1,2"],
        ["backtest", *given, "--warm-up", "500", "--output", str(mixed / "backtest.csv")],
        ["score", *given, "--model", str(mixed / "state"), "--output", str(mixed / "scores.csv")],
    ):
        assert cli.main(command) == 0, command
        said = capsys.readouterr().err
        assert f"columns taken: {fields}; event time: when" in said
        reason = "not asked for" if configured or command[0] == "score" else "text"
        assert f"note ({reason})" in said
    assert open_model(mixed / "state").fields == tuple(fields.split(", "))
    for name in ("backtest.csv", "scores.csv"):
        assert len((mixed / name).read_text().splitlines()) == 901
    assert {path.name for path in mixed.iterdir()} >= {"backtest.csv", "scores.csv", "state"}


def test_the_daemon_continues_from_a_fit_with_categories(mixed):
    config = ["-c", str(mixed / "mixed.yaml")]
    assert cli.main(["fit", "--input", str(mixed / "mixed.csv"), *config, "--output", str(mixed / "state")]) == 0
    daemon = {
        "source": {"type": "file", "path": str(mixed / "mixed.csv")},
        "sinks": [{"type": "file", "path": str(mixed / "out.jsonl"), "emit": "all"}],
        "state": {"dir": str(mixed / "state")},
        "http": {"listen": None},
    }
    (mixed / "run.yaml").write_text(MIXED + "".join(f"{name}: {json.dumps(part)}\n" for name, part in daemon.items()))
    assert cli.main(["run", "-c", str(mixed / "run.yaml"), "--until-end"]) == 0
    rows = [json.loads(line) for line in (mixed / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 900
    assert rows[0]["model_version"].startswith("1.")
