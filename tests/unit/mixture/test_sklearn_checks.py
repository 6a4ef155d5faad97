"""scikit-learn's estimator checks, every one of them."""

import warnings

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from streamgmm import GaussianMixture


def checks():
    with warnings.catch_warnings():
        # The one complaint is that we do not inherit from scikit-learn's base class: it is not a dependency.
        warnings.simplefilter("ignore")
        return [check for _, check in estimator_checks_generator(GaussianMixture(), mark=None)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", checks(), ids=lambda check: getattr(check, "func", check).__name__)
def test_check(check):
    check(GaussianMixture())
