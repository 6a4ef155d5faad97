"""Wide rows: what would hold up the loop is done in parts, or left to refits beside it; too many columns are told."""

import time

import numpy as np
import pytest

from streamgmm import cli
from streamgmm.engine import settings as module
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

SLOW = MemberSettings("slow", n_components=2, window=2000, refresh_every=500, refit_every=500)
FAST = MemberSettings("fast", n_components=2, window=300, refresh_every=50, refit_every=500)


def fed(X, *, level="fixed"):
    settings = EngineSettings(
        ("a", "b"), (SLOW, FAST), min_records=200, step=50, target_rate=0.01, buffer=1000, level=level
    )
    engine = Engine(settings, InlineRunner(time.monotonic))
    parts = [part for _, part in drive(engine, X, np.full(len(X), np.nan), np.arange(len(X), dtype=np.uint64))]
    return engine, parts, engine.events()


def scores(parts):
    return np.concatenate([part.log_density for part in parts])


def test_scoring_in_portions_changes_nothing(rng, monkeypatch):
    X = rng.normal(size=(1000, 2))
    _, whole, _ = fed(X)
    monkeypatch.setattr(EngineSettings, "portion", 7)
    _, parts, _ = fed(X)
    assert max(len(part) for part in parts) == 7
    np.testing.assert_array_equal(scores(parts), scores(whole))


def test_the_wider_the_rows_the_smaller_the_portions():
    portions = [EngineSettings(tuple(f"x{i}" for i in range(d)), (SLOW,)).portion for d in (10, 100, 1000, 100_000)]
    assert portions == sorted(portions, reverse=True)
    assert portions[0] > 1_000_000
    assert portions[-1] >= 1


def test_a_member_too_large_for_a_turn_is_refitted_and_never_refreshed(rng, monkeypatch):
    """A pass of the slow one over its window is too much here, one of the fast one is not."""
    monkeypatch.setattr(module, "WORK_OF_A_TURN", SLOW.pass_work(2, 300) - 1.0)
    _, _, events = fed(rng.normal(size=(3000, 2)))
    refreshed = {e.labels["member"] for e in events if e.kind == "refresh"}
    assert "slow" not in refreshed
    promoted = {e.labels["member"] for e in events if e.kind == "refit" and e.labels["outcome"] == "promoted"}
    assert "slow" in promoted


def test_after_a_change_such_a_member_is_refitted_at_once(rng, monkeypatch):
    monkeypatch.setattr(module, "WORK_OF_A_TURN", 0.0)
    monkeypatch.setattr(EngineSettings, "portion", 1000)
    X = np.concatenate([rng.normal(size=(2900, 2)), rng.normal(size=(500, 2)) * 6.0])
    _, _, events = fed(X)
    kinds = [e.kind for e in events if e.kind in {"drift", "refit_started", "refresh"}]
    assert "refresh" not in kinds
    assert kinds[kinds.index("drift") + 1] == "refit_started"


def test_a_mixture_without_off_diagonals_or_along_few_axes_is_no_work():
    columns = 2000
    full = MemberSettings()
    for light in (
        MemberSettings(kind="marginals"),
        MemberSettings(covariance_type="diag"),
        MemberSettings(pca_components=20),
        MemberSettings(n_columns=40),
    ):
        assert light.pass_work(columns, 1000) < full.pass_work(columns, 1000) / 100


@pytest.mark.parametrize("how", ["model: {members: {slow: {covariance_type: diag}, fast: {covariance_type: diag}}}",
                                 "model: {pca: {n_components: 20}}", "learning: {refit_deadline: 1h}"])  # fmt: skip
def test_too_many_columns_are_told_with_a_remedy_that_works(tmp_path, capsys, how):
    fields = ", ".join(f"x{i}" for i in range(800))
    text = (
        "source: {type: file, path: rows.jsonl}\nsinks: [{type: file, path: flags.jsonl}]\n"
        f"codec: {{type: json, fields: [{fields}]}}\n"
    )
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert cli.main(["check", "-c", str(file)]) == 0
    said = capsys.readouterr().err
    assert "800 columns are many" in said
    assert all(remedy in said for remedy in ("covariance_type: diag", "model.pca", "learning.refit_deadline"))
    file.write_text(text + how)
    assert cli.main(["check", "-c", str(file)]) == 0
    assert "columns are many" not in capsys.readouterr().err
