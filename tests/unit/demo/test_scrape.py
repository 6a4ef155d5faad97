from streamgmm.demo.scrape import Metrics, Sample, samples

TEXT = """\
# HELP streamgmm_rows_scored_total Rows scored.
# TYPE streamgmm_rows_scored_total counter
streamgmm_rows_scored_total 7.5e+03
streamgmm_rows_unscored_total{reason="warming_up"} 999.0
streamgmm_rows_unscored_total{reason="missing"} 1.0
streamgmm_rows_rejected_total{reason="decode"} 0.0
streamgmm_refits_total{member="a",outcome="promoted"} 2.0
streamgmm_refits_total{member="b",outcome="promoted"} 3.0
streamgmm_info{topic="with \\"quotes\\", and comma"} 1.0
python_gc_objects_collected_total{generation="0"} 5.0
"""


def test_labels_with_quotes_and_commas_are_read():
    assert Sample("streamgmm_info", {"topic": 'with \\"quotes\\", and comma'}, 1.0) in samples(TEXT)


def test_totals_sum_over_series_with_the_labels_asked_for():
    metrics = Metrics(TEXT)
    assert metrics.total("rows_unscored_total") == 1000
    assert metrics.total("refits_total", outcome="promoted") == 5
    assert metrics.total("refits_total", outcome="promoted", member="a") == 2
    assert metrics.total("absent") == 0


def test_seen_is_every_row_with_a_fate():
    assert Metrics(TEXT).seen == 8500
    assert Metrics().seen == 0


def test_series_by_label_leave_zeros_out():
    assert Metrics(TEXT).by("rows_rejected_total", "reason") == {}
    assert Metrics(TEXT).by("refits_total", "outcome") == {"promoted": 5}
