"""What an explanation names: planted faults come first, shares add up."""

import numpy as np
import pytest

from streamgmm import StreamDetector

N_FAULTS = 1000


class Source:
    """A mixture of correlated features, whose parameters are known."""

    def __init__(self, rng, d, n_components):
        self.rng, self.d = rng, d
        self.means = rng.normal(size=(n_components, d)) * 2.0
        mixing = rng.normal(size=(n_components, d, d)) / np.sqrt(d)
        self.covariances = mixing @ mixing.transpose(0, 2, 1) + 0.1 * np.eye(d)
        self.scale = 10.0 ** rng.uniform(-3, 3, d)

    def rows(self, n):
        labels = self.rng.integers(len(self.means), size=n)
        factors = np.linalg.cholesky(self.covariances)
        noise = np.einsum("nij,nj->ni", factors[labels], self.rng.normal(size=(n, self.d)))
        return (self.means[labels] + noise) * self.scale, labels

    def conditional_stddev(self, labels, features):
        """Standard deviation of one feature of each row given all others, in the units of the columns."""
        precisions = np.linalg.inv(self.covariances)
        return self.scale[features] / np.sqrt(precisions[labels, features, features])

    def faulty(self, n, n_features):
        """Rows with faults of 6 conditional standard deviations in so many features, and which features those are."""
        X, labels = self.rows(n)
        features = np.array([self.rng.choice(self.d, n_features, replace=False) for _ in range(n)])
        rows = np.arange(n)
        for column in features.T:
            X[rows, column] += self.rng.choice([-6.0, 6.0], n) * self.conditional_stddev(labels, column)
        return X, features


@pytest.fixture(scope="module")
def taught():
    """The default committee, a source that it has learnt, and its columns' names."""
    source = Source(np.random.default_rng(11), 8, 3)
    names = tuple(f"x{j}" for j in range(source.d))
    detector = StreamDetector.from_config({}, fields=names, explain=False)
    detector.process(source.rows(8000)[0])
    return detector.engine.state.detector, source, names


@pytest.mark.parametrize(("n_features", "least"), [(1, 0.95), (2, 0.85)])
def test_planted_faults_rank_first(taught, n_features, least):
    detector, source, names = taught
    X, features = source.faulty(N_FAULTS, n_features)
    first = [names.index(told.contributions[0].feature) for told in detector.explain(X, names)]
    assert np.mean([f in planted for f, planted in zip(first, features, strict=True)]) >= least


def test_shares_sum_to_the_distance(taught):
    detector, source, names = taught
    X, _ = source.faulty(200, 1)
    for told in detector.explain(X, names):
        total = sum(c.share for c in told.contributions)
        assert total == pytest.approx(told.distance2, rel=1e-9, abs=1e-9)
        assert sum(told.responsibilities) == pytest.approx(1.0)


def test_the_surprise_is_the_mean_of_the_members(taught):
    detector, source, names = taught
    X, _ = source.faulty(3, 1)
    parts = [member.explain(X).surprise for member in detector.voters]
    assert len(parts) == 3, "rows in no order: what was of late says nothing"
    for i, told in enumerate(detector.explain(X, names)):
        ours = {c.feature: c.surprise for c in told.contributions}
        for j, name in enumerate(names):
            assert ours[name] == pytest.approx(np.mean([part[i, j] for part in parts]), rel=1e-12)
        assert told.member == "slow"


def test_rows_are_explained_alike_together_and_alone(taught):
    detector, source, names = taught
    X, _ = source.faulty(20, 1)
    alone = [detector.explain(X[i : i + 1], names)[0] for i in range(20)]
    for one, other in zip(detector.explain(X, names), alone, strict=True):
        assert [c.feature for c in one.contributions] == [c.feature for c in other.contributions]
        assert one.distance2 == pytest.approx(other.distance2, rel=1e-12)
    assert detector.explain(X[:0], names) == []
