"""Parquet files in and out, and what is said where pyarrow is not there."""

import decimal
import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from streamgmm import cli
from streamgmm.cli._files import read_table, write_columns
from streamgmm.errors import StopError


def written(path, columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_numbers_are_fields_and_nothing_else_is(tmp_path):
    when = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)]
    table = read_table(
        written(
            tmp_path / "in.parquet",
            {
                "timestamp": pa.array(when, pa.timestamp("ns", "UTC")),
                "host": ["a", "b"],
                "load": pa.array([0.5, None], pa.float32()),
                "count": pa.array([1, None], pa.int64()),
                "price": pa.array([decimal.Decimal("1.25"), None]),
                "on": [True, False],
                "y": [0, 1],
            },
        )
    )
    assert table.fields == ("load", "count", "price", "on")
    np.testing.assert_array_equal(table.X, [[0.5, 1.0, 1.25, 1.0], [np.nan, np.nan, np.nan, 0.0]])
    np.testing.assert_allclose(table.t - when[0].timestamp(), [0.0, 1.5])
    np.testing.assert_array_equal(table.y, [0, 1])


def test_t_in_seconds_goes_before_a_timestamp(tmp_path):
    table = read_table(written(tmp_path / "in.parquet", {"t": [7.5], "timestamp": [3.0], "a": [1.0]}))
    np.testing.assert_array_equal(table.t, [7.5])
    assert table.fields == ("timestamp", "a")


def test_what_is_written_is_read_back(rng, tmp_path):
    columns = {"a": rng.normal(size=5), "b": np.array([1.0, np.nan, 3.0, 4.0, 5.0])}
    write_columns(tmp_path / "out.parquet", columns)
    table = read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(table.X, np.column_stack([*columns.values()]))
    assert parquet.read_table(tmp_path / "out.parquet").column("b").null_count == 1


def test_the_commands_take_it(rng, tmp_path, capsys):
    rows = {"a": rng.normal(size=600), "b": rng.normal(size=600)}
    write_columns(tmp_path / "in.parquet", rows)
    model, scores = str(tmp_path / "model"), str(tmp_path / "scores.parquet")
    assert cli.main(["fit", "--input", str(tmp_path / "in.parquet"), "--output", model]) == 0
    assert cli.main(["score", "--model", model, "--input", str(tmp_path / "in.parquet"), "--output", scores]) == 0
    found = parquet.read_table(scores)
    assert found.num_rows == 600
    assert found.column_names[:2] == ["log_density", "p_value"]
    capsys.readouterr()


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "in.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(StopError, match=r"in\.parquet"):
        read_table(path)


def test_a_file_without_numbers_is_refused(tmp_path):
    with pytest.raises(StopError, match=r"in\.parquet"):
        read_table(written(tmp_path / "in.parquet", {"host": ["a"]}))


def test_without_pyarrow_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StopError, match="Parquet needs pyarrow") as caught:
        read_table(tmp_path / "in.parquet")
    assert caught.value.hint == "pip install 'streamgmm[parquet]'"
