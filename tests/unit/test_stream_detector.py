"""What the library's face takes: data frames by name, datetimes, missing values as their makers write them."""

from datetime import UTC, datetime

import numpy as np
import pytest

from streamgmm import GaussianMixture, StreamDetector
from streamgmm.errors import DetectorError, FitError


class NAType:
    """As pandas' NA: no number, and of no truth."""

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __ne__(self, other):
        return self


class Frame:
    """As much of a data frame as is asked for."""

    def __init__(self, columns):
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.columns = list(columns)
        self.dtypes = {name: values.dtype for name, values in self._columns.items()}
        self.shape = (len(next(iter(self._columns.values()))), len(columns))

    def __array__(self, dtype=None, copy=None):  # numpy's protocol
        return np.array([*self._columns.values()], dtype=dtype).T

    def __getitem__(self, names):
        return Frame({name: self._columns[name] for name in names})


FIELDS = ("a", "b")
RNG = np.random.default_rng(0)
X = np.c_[RNG.normal(10, 1, 1500), RNG.normal(-300, 5, 1500)]


def detector(fields=FIELDS):
    return StreamDetector.from_config({"codec": {"fields": list(fields)}, "model": {"committee": "single"}})


@pytest.fixture(scope="module")
def fitted():
    found = detector()
    found.process(X)
    return found


def test_the_columns_of_a_frame_are_taken_by_name(fitted):
    frame = Frame({"when": np.zeros(3, dtype="datetime64[ns]"), "b": X[:3, 1], "a": X[:3, 0]})
    np.testing.assert_array_equal(fitted.decision_function(frame), fitted.decision_function(X[:3]))
    with pytest.raises(DetectorError, match=r"no column 'a': it has x, b.*by position"):
        fitted.process(Frame({"x": X[:3, 0], "b": X[:3, 1]}))


def test_masked_cells_and_those_of_pandas_are_missing(fitted):
    holed = X[:3].copy()
    holed[1, 0] = np.nan
    expected = fitted.decision_function(holed)
    masked = np.ma.masked_array(np.where(np.isnan(holed), -9999.0, holed), mask=np.isnan(holed))
    np.testing.assert_array_equal(fitted.decision_function(masked), expected)
    for nothing in (None, NAType()):
        objects = holed.astype(object)
        objects[1, 0] = nothing
        np.testing.assert_array_equal(fitted.decision_function(objects), expected)


@pytest.mark.parametrize(
    "wild", [np.array([["2024-01-01", "2024-01-02"]], dtype="datetime64[s]"), np.ones((1, 2), dtype="timedelta64[s]")]
)
def test_points_in_time_are_no_numbers(fitted, wild):
    with pytest.raises(TypeError, match="points in time or durations"):
        fitted.process(wild)
    with pytest.raises(TypeError, match="points in time or durations"):
        GaussianMixture(1).fit(wild)
    with pytest.raises(TypeError, match="column 'when' holds points in time"):
        GaussianMixture(1).fit(Frame({"a": X[:9, 0], "when": np.zeros(9, dtype="datetime64[s]")}))


MINUTES = np.arange("2024-01-01T00:00", "2024-01-02T01:00", dtype="datetime64[m]")


@pytest.mark.parametrize(
    "t",
    [
        MINUTES.astype("datetime64[ns]"),
        MINUTES.astype("datetime64[ms]").astype(object),
        [moment.replace(tzinfo=UTC) for moment in MINUTES.astype("datetime64[ms]").astype(object)],
        MINUTES.astype("datetime64[s]").astype(float),
        [*MINUTES.astype("datetime64[s]").astype(float)[:-1], None],
    ],
)
def test_times_are_seconds_whatever_they_are_given_as(t):
    one, other = detector(), detector()
    one.process(X, t=t)
    seconds = 1704067200.0 + 60.0 * np.arange(1500)
    seconds[-1] = np.nan if t[-1] is None else seconds[-1]
    other.process(X, t=seconds)
    assert one.engine.status().members[0].window_span == other.engine.status().members[0].window_span > 50_000.0


@pytest.mark.parametrize(
    ("t", "said"),
    [
        (["2024-01-01"] * 3, "not event times"),
        (np.ones(3, dtype="timedelta64[s]"), "not event times"),
        ([1704067200000] * 3, "after the year 9999 (give seconds, not ms or ns)"),
        ([object()] * 3, "give seconds since the epoch, or datetimes"),
        ([datetime(2024, 1, 1, tzinfo=UTC)] * 2, "X has 3 rows"),
    ],
)
def test_what_is_no_time_is_refused(fitted, t, said):
    with pytest.raises(DetectorError) as caught:
        fitted.process(X[:3], t=t)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "width"), [({"covariance_type": "diag"}, 2), ({"n_components": 3}, 2), ({}, 1)], ids=str
)
@pytest.mark.parametrize("goes_on", ["fit", "partial_fit"])
def test_a_fit_goes_on_only_with_a_mixture_of_the_same_shape(change, width, goes_on):
    mixture = GaussianMixture(2, warm_start=True, random_state=0).fit(X)
    mixture.set_params(**change)
    with pytest.raises(ValueError, match=r"cannot go on|is expecting 2 features"):
        getattr(mixture, goes_on)(X[:, :width])
    mixture.set_params(warm_start=False)
    if width == 2:
        assert mixture.fit(X).means_.shape == (mixture.n_components, 2)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("wild", [1e100, 1.4e154, -1e300, np.finfo(np.float64).max])
def test_wild_values_are_told_by_errors_of_ours_or_not_at_all(kind, wild):
    rows = X[:300].copy()
    rows[7, 1] = wild
    for init in ("kmeans", "random", "k-means++", "random_from_data"):
        mixture = GaussianMixture(2, covariance_type=kind, init_params=init, random_state=0)
        try:
            mixture.fit(rows)
        except FitError:
            continue
        assert not np.isnan(mixture.score_samples(rows)).any()
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    assert not np.isnan(mixture.score_samples(rows)).any()
    assert mixture.predict(rows).shape == (300,)
