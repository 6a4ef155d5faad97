"""`model.n_components`: a number, or a range to choose it from."""

import pytest

from streamgmm import assembly
from streamgmm.cli.check import summary
from streamgmm.config.loader import parse
from streamgmm.errors import ConfigError

RANGE = {"model": {"committee": "single", "n_components": {"min": 2, "max": 6, "choose_by": "aic"}}}


def test_a_range_reaches_the_fit():
    (member,) = assembly.engine_settings(parse(RANGE, require=()), ["a", "b"]).members
    assert (member.fewest_components, member.n_components, member.choose_by) == (2, 6, "aic")


def test_a_number_leaves_nothing_to_choose():
    config = parse({"model": {"committee": "single", "n_components": 3}}, require=())
    (member,) = assembly.engine_settings(config, ["a"]).members
    assert (member.fewest_components, member.n_components) == (None, 3)


def test_what_would_run_names_the_range():
    lines = dict(summary(parse(RANGE, require=())))
    assert lines["model single"].startswith("2 to 6 (chosen by aic) components")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"min": 5, "max": 3}, r"model.n_components.min: min \(5\) is above max \(3\)"),
        ({"max": 300}, r"model.n_components.max: should be less than or equal to 256 \(got 300\)"),
        ({"most": 3}, r"model.n_components.most: unknown key"),
        ({"choose_by": "guess"}, r"model.n_components.choose_by: "),
        (0, r"model.n_components: should be greater than or equal to 1 \(got 0\)"),
        ("many", r"model.n_components: should be a valid integer"),
        (True, r"model.n_components: should be a number, not true or false"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(size, said):
    with pytest.raises(ConfigError, match=said):
        parse({"model": {"committee": "single", "n_components": size}}, require=())


def test_a_range_is_refused_beside_a_committee():
    with pytest.raises(ConfigError, match="n_components has no effect with a committee"):
        parse({"model": {"n_components": {"max": 3}}}, require=())
