"""Missing cells cost little: the rate of flags holds, and the ranking suffers less than with means filled in."""

import numpy as np
import pytest
from scipy.stats import rankdata

from streamgmm import StreamDetector

N, WARM, TARGET = 6000, 1000, 0.02
MIXTURES = ((1, 3, 2), (2, 4, 3), (3, 5, 2), (4, 6, 4), (5, 8, 3))


def mixture(seed, d, k):
    """Draw rows of a mixture in columns of very different units; one in fifty of the judged is from elsewhere."""
    rng = np.random.default_rng(seed)
    modes, shapes = rng.normal(size=(k, d)) * 4.0, rng.normal(size=(k, d, d)) + 0.7 * np.eye(d)
    which = rng.choice(k, N, p=rng.dirichlet([5.0] * k))
    X = modes[which] + np.einsum("nij,nj->ni", shapes[which], rng.normal(size=(N, d)))
    wrong = np.flatnonzero((np.arange(N) >= WARM) & (rng.random(N) < TARGET))
    X[wrong] = X.mean(axis=0) + 2.5 * X.std(axis=0) * rng.normal(size=(len(wrong), d))
    y = np.zeros(N, dtype=bool)
    y[wrong] = True
    return X * 10.0 ** rng.uniform(-2.0, 3.0, d), y


def judged(X, y):
    """Return AUROC and the rate of flags over the target rate."""
    config = {"detection": {"target_rate": TARGET, "level": "fixed"}}
    detector = StreamDetector.from_config(
        config, fields=[f"x{i}" for i in range(X.shape[1])], warm_up=WARM, explain=False
    )
    scored = detector.process(X)
    there = np.flatnonzero((scored.status == 0) & (np.arange(N) >= WARM))
    ranks, truth = rankdata(-scored.log_density[there]), y[there]
    n1 = truth.sum()
    auroc = (ranks[truth].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(truth) - n1))
    return float(auroc), float(scored.is_anomaly[there].mean() / TARGET)


@pytest.mark.parametrize(("seed", "d", "k"), MIXTURES)
def test_missing_cells_cost_little(seed, d, k):
    X, y = mixture(seed, d, k)
    whole, _ = judged(X, y)
    for share, allowed in ((0.05, 0.02), (0.2, 0.06)):
        holes = X.copy()
        holes[np.random.default_rng(seed).random(X.shape) < share] = np.nan
        auroc, rate = judged(holes, y)
        imputed, _ = judged(np.where(np.isnan(holes), np.nanmean(holes[:WARM], axis=0), holes), y)
        found = f"missing {share:.0%}: AUROC {whole:.3f} → {auroc:.3f} ({imputed:.3f} by means), rate {rate:.2f}"
        assert auroc >= whole - allowed, found
        assert auroc > imputed or share < 0.2, found
        assert 0.7 <= rate <= 1.4, found
