"""Messages as they leave: every field, every header, and the published JSON Schemas."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from batches import record_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.engine.incidents import summarised
from streamgmm.records import (
    REJECT_REASONS,
    SEVERITIES,
    STATUSES,
    Anomaly,
    Contribution,
    Explanation,
    FeatureBatch,
    Reject,
    ScoredBatch,
)
from streamgmm.sinks import _rendering as rendering
from streamgmm.sinks import file
from streamgmm.sinks._scores import score_records

DOCS = Path(__file__).parents[3] / "docs"
NAMES = ("load", "temp")


def schema(name: str) -> jsonschema.Draft202012Validator:
    document = json.loads((DOCS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document, format_checker=jsonschema.FormatChecker())


BATCH = record_batch(
    [b'{"load": 1}', b"\xff"], keys=["kä".encode(), b"\xff"], headers=(("trace", b"7"),), first_offset=40
)
FEATURES = FeatureBatch(
    np.array([[1.5, np.nan], [2.0, 3.0]]),
    np.array([0, 1]),
    np.array([0, 2]),
    np.array([1700000000.1239, np.nan]),
)
SCORED = ScoredBatch(
    log_density=np.array([-np.inf, -3.25]),
    p_value=np.array([1e-4, 0.5]),
    score=np.array([50.0, 3.75]),
    is_anomaly=np.array([True, False]),
    severity=np.array([2, -1]),
    level=np.array([0.001, 0.001]),
    threshold=np.array([-20.5, -20.5]),
    version=np.array([[12, 34], [12, 34]]),
    status=np.array([0, 0]),
)
EXPLANATION = Explanation(
    "slow",
    3,
    (0.75, 0.25),
    81.5,
    (Contribution("load", 40.0, 80.0, 1.5, 0.1, 0.05, -1.577), Contribution("temp", -1.0, 1.5, *[math.nan] * 3, 0.0)),
)
ANOMALY = Anomaly(0, "critical", "i-1", provisional=False, explanation=EXPLANATION)


def test_an_anomaly_says_it_all():
    record = rendering.anomaly_record(BATCH, FEATURES, SCORED, ANOMALY, NAMES, {"host": "h1"})
    value = json.loads(record.value)
    assert value == {
        "id": "vectors/0/40/0",
        "topic": "vectors",
        "partition": 0,
        "offset": 40,
        "row": 0,
        "timestamp": "2023-11-14T22:13:20.124Z",
        "key": "kä",
        "log_density": -1.7976931348623157e308,
        "p_value": 1e-4,
        "score": 50.0,
        "severity": "critical",
        "level": 0.001,
        "threshold": -20.5,
        "model_version": "12.34",
        "incident": "i-1",
        "member": "slow",
        "component": 3,
        "responsibilities": [0.75, 0.25],
        "distance2": 81.5,
        "contributions": [
            {"feature": "load", "surprise": 40.0, "share": 80.0, "observed": 1.5, "expected": 0.1, "stddev": 0.05},
            {"feature": "temp", "surprise": -1.0, "share": 1.5, "observed": None, "expected": None, "stddev": None},
        ],
        "features": {"load": 1.5, "temp": None},
        "missing": ["temp"],
        "passthrough": {"host": "h1"},
        "provisional": False,
        "suppressed": 0,
    }
    assert record.key == "kä".encode()
    assert record.headers == (("streamgmm-model-version", b"12.34"), ("streamgmm-source", b"vectors/0/40"))
    assert record.topic is None
    assert record.timestamp_ms is None
    document = schema("anomaly")
    document.validate(value)
    assert list(document.schema["properties"]) == list(value)


def test_bytes_that_are_no_text_and_a_time_that_is_not_known():
    anomaly = replace(ANOMALY, index=1, severity="warning")
    record = rendering.anomaly_record(BATCH, FEATURES, SCORED, anomaly, NAMES, {})
    value = json.loads(record.value)
    assert value["id"] == "vectors/0/41/2"
    assert value["key"] == {"base64": "/w=="}
    assert value["timestamp"] is None
    assert value["missing"] == []
    assert record.key == b"\xff"
    schema("anomaly").validate(value)


def test_no_key_is_null():
    batch = record_batch([b"1", b"2"])
    assert json.loads(rendering.anomaly_record(batch, FEATURES, SCORED, ANOMALY, NAMES, {}).value)["key"] is None


@pytest.mark.parametrize("status", range(len(STATUSES)))
def test_a_compact_row_has_null_for_what_it_was_not_given(status):
    unscored = replace(
        SCORED,
        log_density=np.array([np.nan, np.nan]),
        p_value=np.array([np.nan, np.nan]),
        score=np.array([np.nan, np.nan]),
        threshold=np.array([np.nan, np.nan]),
        status=np.array([status, status]),
    )
    for scored in (SCORED, unscored):
        record = score_records(BATCH, FEATURES, scored, np.array([1]))[0]
        value = json.loads(record.value)
        document = schema("score")
        document.validate(value)
        assert list(document.schema["properties"]) == list(value)
    assert value["status"] == STATUSES[status]
    assert value["p_value"] is None
    assert record.key == b"\xff"


def dead_letter(batch, reject, topic, most_bytes=1 << 20):
    (letter,) = rendering.dead_letters(batch, [reject], lambda _: topic, most_bytes)
    return letter


@pytest.mark.parametrize("reason", REJECT_REASONS)
def test_a_dead_letter_is_the_record_as_it_came(reason):
    letter = dead_letter(BATCH, Reject(1, -1, reason, "row 3: ключ is wrong"), "vectors-dead-letters")
    assert letter.value == b"\xff"
    assert letter.key == b"\xff"
    assert letter.topic == "vectors-dead-letters"
    assert letter.headers == (
        ("trace", b"7"),
        ("streamgmm-reason", reason.encode()),
        ("streamgmm-detail", "row 3: ключ is wrong".encode()),
        ("streamgmm-source", b"vectors/0/41"),
    )
    schema("dead-letter").validate(json.loads(file.line(letter)))


def test_a_redriven_record_that_fails_again_has_one_reason():
    batch = record_batch([b"x"], headers=(("streamgmm-reason", b"schema"), ("a", b"1"), ("streamgmm-source", b"t/0/1")))
    letter = dead_letter(batch, Reject(0, -1, "decode", "x" * 5000), None)
    assert [name for name, _ in letter.headers] == ["a", "streamgmm-reason", "streamgmm-detail", "streamgmm-source"]
    assert len(dict(letter.headers)["streamgmm-detail"]) == 1000
    schema("dead-letter").validate(json.loads(file.line(letter)))


def test_a_record_of_many_bad_rows_is_one_dead_letter_that_lists_them():
    rejects = [Reject(0, row, "schema", f"row {row}: text") for row in range(40_000)]
    letters = rendering.dead_letters(BATCH, [*rejects, Reject(1, -1, "decode", "no")], lambda _: None, 1 << 20)
    assert len(letters) == 2
    detail = dict(letters[0].headers)["streamgmm-detail"]
    assert detail.startswith(b"40000 bad rows: row 0: text; row 1: text; ")
    assert len(detail) == 1000
    schema("dead-letter").validate(json.loads(file.line(letters[0])))


def test_a_dead_letter_longer_than_the_bound_is_truncated_and_says_so():
    letter = dead_letter(record_batch([b"x" * 1000]), Reject(0, -1, "oversize", ""), None, most_bytes=100)
    assert letter.value == b"x" * 100
    assert dict(letter.headers)["streamgmm-truncated"].startswith(b"value=1000 key=")
    schema("dead-letter").validate(json.loads(file.line(letter)))


def test_a_null_header_stays_null():
    letter = dead_letter(record_batch([b"x"], headers=(("a", None), ("b", b""))), Reject(0, -1, "decode", ""), None)
    assert letter.headers[:2] == (("a", None), ("b", b""))
    assert json.loads(file.line(letter))["headers"][:2] == [["a", None], ["b", ""]]
    schema("dead-letter").validate(json.loads(file.line(letter)))


def test_the_schemas_can_fail():
    value = json.loads(rendering.anomaly_record(BATCH, FEATURES, SCORED, ANOMALY, NAMES, {}).value)
    document = schema("anomaly")
    for key, wrong in (
        ("score", 101),
        ("severity", "fatal"),
        ("timestamp", "today"),
        ("key", 3),
        ("model_version", "1"),
    ):
        assert not document.is_valid(value | {key: wrong})
    for key in value:
        assert not document.is_valid({k: v for k, v in value.items() if k != key})
    letter = json.loads(file.line(dead_letter(BATCH, Reject(1, -1, "decode", ""), "t")))
    assert not schema("dead-letter").is_valid(letter | {"headers": letter["headers"][:-1]})
    wrong_reason = [[name, "other" if name == "streamgmm-reason" else value] for name, value in letter["headers"]]
    assert not schema("dead-letter").is_valid(letter | {"headers": wrong_reason})


def test_the_schemas_name_the_closed_sets():
    anomaly, score, letter = (schema(name).schema for name in ("anomaly", "score", "dead-letter"))
    assert tuple(anomaly["properties"]["severity"]["enum"]) == SEVERITIES
    assert tuple(score["properties"]["status"]["enum"]) == STATUSES
    assert f"{json.dumps(list(REJECT_REASONS))}" in json.dumps(letter)


def test_an_incident_says_it_all():
    row = rendering.flagged_row(BATCH, FEATURES, SCORED, ANOMALY)
    incident = summarised(summarised(None, ANOMALY, row), ANOMALY, replace(row, time=row.time + 90.0, p_value=0.5))
    value = json.loads(rendering.incident_record(incident, closed=True, suppressed=3).value)
    contributions = value["worst"].pop("contributions")
    assert [c["feature"] for c in contributions] == ["load", "temp"]
    assert value.pop("features") == [{"feature": "load", "surprise": pytest.approx(2 * 41.577, rel=1e-3)}]
    assert value == {
        "incident": "i-1",
        "state": "closed",
        "id": "vectors/0/40/0",
        "key": "kä",
        "opened": "2023-11-14T22:13:20.124Z",
        "last": "2023-11-14T22:14:50.124Z",
        "duration": 90.0,
        "rows": 2,
        "severity": "critical",
        "worst": {
            "id": "vectors/0/40/0",
            "timestamp": "2023-11-14T22:13:20.124Z",
            "key": "kä",
            "log_density": -1.7976931348623157e308,
            "p_value": 1e-4,
            "score": 50.0,
            "model_version": "12.34",
        },
        "suppressed": 3,
        "provisional": False,
    }
    record = rendering.incident_record(incident, closed=False, suppressed=0)
    assert record.key == "kä".encode()
    assert record.headers == (("streamgmm-model-version", b"12.34"), ("streamgmm-source", b"vectors/0/40"))
    value = json.loads(record.value)
    document = schema("incident")
    document.validate(value)
    assert list(document.schema["properties"]) == list(value)
    assert not document.is_valid(value | {"state": "over"})
    assert not document.is_valid(value | {"rows": 0})


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=10, max_size=10))
def test_any_incident_gives_valid_json(numbers):
    contribution = Contribution("load", *numbers[:5], numbers[8])
    anomaly = replace(ANOMALY, index=1, explanation=replace(EXPLANATION, contributions=(contribution,) * 7))
    row = rendering.flagged_row(BATCH, FEATURES, SCORED, anomaly)
    row = replace(row, time=numbers[5], log_density=-abs(np.nan_to_num(numbers[6])))
    incident = summarised(summarised(None, anomaly, row), anomaly, replace(row, time=numbers[7]))
    value = json.loads(rendering.incident_record(incident, closed=False, suppressed=0).value)
    schema("incident").validate(value)


@given(st.floats(), st.lists(st.floats(), min_size=9, max_size=9))
def test_any_numbers_give_valid_json(time, numbers):
    contribution = Contribution("load", *numbers[:5], 0.0)
    explanation = Explanation("m", 0, (1.0,), numbers[5], (contribution,))
    features = replace(FEATURES, X=np.array([numbers[6:8]] * 2), event_time=np.array([time, time]))
    scored = replace(SCORED, log_density=np.nan_to_num(np.array([numbers[8]] * 2), posinf=np.inf, neginf=-np.inf))
    record = rendering.anomaly_record(BATCH, features, scored, replace(ANOMALY, explanation=explanation), NAMES, {})
    schema("anomaly").validate(json.loads(record.value))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
        (1e300, "9999-12-31T23:59:59.999Z"),
        (-math.inf, "0001-01-01T00:00:00.000Z"),
        (253402300799.9999, "9999-12-31T23:59:59.999Z"),
        (math.nan, None),
    ],
)
def test_times_are_utc_with_milliseconds(seconds, text):
    assert rendering.rfc3339(seconds) == text
