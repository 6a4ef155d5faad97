"""The whole configuration: its sections, and the rules that concern several sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from streamgmm.config.codecs import BINARY, Codec, CsvCodec
from streamgmm.config.inputs import Feature, FileSource, KafkaSource, Source
from streamgmm.config.learning import Detection, Learning, Model, beside_a_committee
from streamgmm.config.members import FAST_STEP, FAST_WINDOW, MarginalsMember, MemberRefitEvery, MixtureMember, shortened
from streamgmm.config.outputs import (
    DeadLetters,
    FileDeadLetters,
    FileSink,
    Http,
    KafkaDeadLetters,
    KafkaSink,
    Limits,
    Logging,
    Sink,
    State,
)
from streamgmm.config.section import Rule, Section, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEAD_LETTERS_SUFFIX = "-dead-letters"
MOST_REMEMBERED = 2**27  # values that one derived column may keep: 1 GiB
VALUES_OF_A_PAST = 3  # values that the temporal member keeps for each key and column


class Config(Section):
    """The configuration of one detector."""

    source: Source | None = None
    """Where records are read."""
    codec: Codec | None = None
    """How payloads are decoded into fields."""
    features: tuple[Feature, ...] = Field(default=(), max_length=64)
    """Derived columns, applied in order. Default: none; the columns are the fields."""
    model: Model = Model()
    """The committee of mixtures, or the single mixture, that scores rows."""
    learning: Learning = Learning()
    """How and when the detector learns."""
    detection: Detection = Detection()
    """Which rows are flagged and how they form incidents."""
    sinks: tuple[Sink, ...] = Field(default=(), max_length=16)
    """Where results are written."""
    dead_letters: DeadLetters = KafkaDeadLetters()
    """Where records that could not be scored are written."""
    state: State = State()
    """Snapshots. A restart continues from the newest intact one."""
    http: Http = Http()
    """The HTTP server for metrics, health and status."""
    logging: Logging = Logging()
    """Level and format of the log. The log goes to stderr."""
    limits: Limits = Limits()
    """Limits of memory, time and CPU."""

    def redacted(self) -> dict[str, Any]:
        """Return plain values with every secret hidden, for logs and /status."""
        return self.model_dump(mode="json")

    def dead_letter_topics(self) -> tuple[str, ...]:
        """Return the topics that dead letters go to; empty where they go to a file."""
        if not isinstance(self.source, KafkaSource) or not isinstance(self.dead_letters, KafkaDeadLetters):
            topic = getattr(self.dead_letters, "topic", None)
            return () if topic is None else (topic,)
        if self.dead_letters.topic is not None:
            return (self.dead_letters.topic,)
        return tuple(topic + DEAD_LETTERS_SUFFIX for topic in self.source.all_topics)

    def rules(self) -> Iterator[Rule]:
        """Yield every broken rule between sections."""
        yield from self._feature_rules()
        yield from self._loop_rules()
        yield from self._broker_rules()
        yield from self._file_rules()
        yield from self._size_rules()
        yield from self._member_rules()

    def _feature_rules(self) -> Iterator[Rule]:
        columns = () if self.codec is None else self.codec.names
        for i, spec in enumerate(self.features):
            unknown = [(j, name) for j, name in enumerate(spec.fields) if columns and name not in columns]
            for j, name in unknown:
                yield Rule(("features", i, "fields", j), f"there is no column {name!r}; columns: {', '.join(columns)}")
            if unknown:
                return
            columns = spec.output_names(columns) if columns else columns
            for _, name in duplicates(columns):
                yield Rule(("features", i), f"two columns would be called {name!r}")
            steps = getattr(spec, "steps", 1)
            if getattr(spec, "by", "stream") == "key" and self.limits.keys * steps * len(spec.fields) > MOST_REMEMBERED:
                yield Rule(
                    ("features", i),
                    f"{steps} rows of {len(spec.fields)} columns for each of limits.keys ({self.limits.keys}) can "
                    "take more than 1 GiB; lower steps or limits.keys, or set by: stream",
                )
        yield from self._past_rules(columns)
        for name in self.detection.fields:
            if columns and name not in columns:
                yield Rule(("detection", "fields", name), f"there is no column {name!r}; columns: {', '.join(columns)}")

    def _past_rules(self, columns: tuple[str, ...]) -> Iterator[Rule]:
        """Yield a temporal member whose state for all keys can exceed the memory bound."""
        if "temporal" not in self.committee or self.codec is None:
            return
        measured = {
            f if isinstance(f, str) else f.name for f in self.codec.fields if getattr(f, "type", "") != "category"
        }
        n = len(measured & set(columns))
        if self.limits.keys * VALUES_OF_A_PAST * n > MOST_REMEMBERED:
            yield Rule(
                ("limits", "keys") if "keys" in self.limits.model_fields_set else ("codec", "fields"),
                f"the state of the temporal member for {n} columns and limits.keys ({self.limits.keys}) keys "
                "can take more than 1 GiB; lower limits.keys, or remove temporal from model.committee",
            )

    def _loop_rules(self) -> Iterator[Rule]:
        read = self.source.all_topics if isinstance(self.source, KafkaSource) else ()
        written: list[tuple[tuple[str | int, ...], str]] = [
            (("sinks", i, "topic"), s.topic) for i, s in enumerate(self.sinks) if isinstance(s, KafkaSink)
        ]
        if isinstance(self.dead_letters, KafkaDeadLetters):
            given = self.dead_letters.topic is not None
            written += [(("dead_letters", "topic") if given else ("source",), t) for t in self.dead_letter_topics()]
        for path, topic in written:
            if topic in read:
                yield Rule(path, f"the source reads the topic {topic!r} too: the daemon would read its own output")
        for position, topic in duplicates(tuple(topic for _, topic in written)):
            yield Rule(written[position][0], f"two outputs write the topic {topic!r}")

    def _broker_rules(self) -> Iterator[Rule]:
        if self.source is None or isinstance(self.source, KafkaSource):
            return
        for i, sink in enumerate(self.sinks):
            if isinstance(sink, KafkaSink) and sink.bootstrap_servers is None:
                yield Rule(("sinks", i), 'the key "bootstrap_servers" is required here: the source is a file')
        letters = self.dead_letters
        if isinstance(letters, KafkaDeadLetters) and "dead_letters" in self.model_fields_set:
            for key in ("topic", "bootstrap_servers"):
                if getattr(letters, key) is None:
                    yield Rule(("dead_letters",), f'the key "{key}" is required here: the source is a file')

    def _file_rules(self) -> Iterator[Rule]:
        if isinstance(self.source, FileSource) and isinstance(self.codec, BINARY):
            yield Rule(("codec", "type"), f"a file source reads lines of text, but {self.codec.type} is not text")
        if isinstance(self.source, FileSource) and isinstance(self.codec, CsvCodec):
            yield Rule(("codec", "type"), "a file source converts CSV rows to JSON by the header; use type: json")
        used: list[tuple[tuple[str | int, ...], Path]] = []
        used += [(("source", "path"), self.source.path)] if isinstance(self.source, FileSource) else []
        used += [(("sinks", i, "path"), s.path) for i, s in enumerate(self.sinks) if isinstance(s, FileSink)]
        if isinstance(self.dead_letters, FileDeadLetters):
            used.append((("dead_letters", "path"), self.dead_letters.path))
        for position, path in duplicates(tuple(str(path) for _, path in used)):
            yield Rule(used[position][0], f"the file {path!r} is used twice")

    def _size_rules(self) -> Iterator[Rule]:
        for i, sink in enumerate(self.sinks):
            linger = sink.client.linger_ms if isinstance(sink, KafkaSink) else 0
            if linger > 1000 * self.limits.max_latency:
                yield Rule(
                    ("sinks", i, "client", "linger_ms"),
                    f"linger_ms ({linger}) is above limits.max_latency ({self.limits.max_latency:g} s)",
                )
        most = self.limits.calibration_rows
        if self.detection.buffer is not None and self.detection.buffer > most:
            yield Rule(
                ("detection", "buffer"),
                f"buffer ({self.detection.buffer}) is above limits.calibration_rows ({most})",
            )
        if self.detection.buffer_rows(most) < self.detection.needed_scores:
            yield Rule(
                ("detection", "target_rate"),
                f"target_rate ({self.detection.target_rate:g}) needs {self.detection.needed_scores} scores, "
                f"above limits.calibration_rows ({most})",
            )

    @property
    def is_fast(self) -> bool:
        """Return whether settings that are not given take the short values of `adaptation: fast`."""
        return self.learning.adaptation == "fast"

    @property
    def committee(self) -> dict[str, MixtureMember | MarginalsMember]:
        """Return the members by name. The order is the order in which they explain a row."""
        members = self._committee()
        return {name: shortened(m, self.step) for name, m in members.items()} if self.is_fast else members

    @property
    def step(self) -> int:
        """Return the number of learnt rows in a step."""
        short = self.is_fast and "step" not in self.learning.model_fields_set
        return FAST_STEP if short else self.learning.step

    @property
    def min_records(self) -> int:
        """Return the number of learnt rows before the first fit."""
        short = self.is_fast and "min_records" not in self.learning.model_fields_set
        return FAST_WINDOW if short else self.learning.min_records

    def _committee(self) -> dict[str, MixtureMember | MarginalsMember]:
        if self.is_fast and "committee" not in self.model.model_fields_set:
            return {"fast": self.model.members.fast}
        if not self.model.is_single:
            return {name: getattr(self.model.members, name) for name in self.model.committee}
        learning = self.learning
        given: dict[str, int] = {}
        if "records" in learning.window.model_fields_set:
            given["window"] = learning.window.records
        if "refresh_every" in learning.model_fields_set:
            given["refresh_every"] = learning.refresh_every
        return {
            "single": MixtureMember(
                n_components=self.model.most_components,
                covariance_type=self.model.covariance_type,
                refit_every=MemberRefitEvery(**learning.refit_every.model_dump()),
                **given,
            )
        }

    def _member_rules(self) -> Iterator[Rule]:
        learning = self.learning
        if not self.model.is_single:
            for key in ("refresh_every", "refit_every"):
                if key in learning.model_fields_set:
                    yield Rule(("learning", key), beside_a_committee(key, f"model.members.<name>.{key}"))
            if "records" in learning.window.model_fields_set:
                instead = "model.members.<name>.window"
                yield Rule(("learning", "window", "records"), beside_a_committee("window.records", instead))
        longest = max(member.window for member in self.committee.values())
        if self.min_records > longest:
            yield Rule(
                ("learning", "min_records"),
                f"min_records ({self.min_records}) is above the longest window ({longest}): "
                "the first fit could never start; lower min_records, or raise the window",
            )
        for name in sorted(self.model.members.model_fields_set & set(self.model.committee) - set(self.committee)):
            yield Rule(
                ("model", "members", name),
                f"with adaptation: fast the committee is [{', '.join(self.committee)}] unless model.committee is given",
            )
        for name, member in self.committee.items():
            yield from self._schedule_rules(name, member)

    def _schedule_rules(self, name: str, member: MixtureMember | MarginalsMember) -> Iterator[Rule]:
        if self.min_records < 2 * member.n_components:
            yield Rule(
                ("learning", "min_records"),
                f"min_records ({self.min_records}) is below two rows per component ({member.n_components} components)",
            )
        place: tuple[str, ...] = ("learning",) if name == "single" else ("model", "members", name)
        given = name == "single" or name in self.model.members.model_fields_set
        scheduled = {("refresh_every",): member.refresh_every, ("refit_every", "records"): member.refit_every.records}
        for path, rows in scheduled.items():
            if rows < self.step:
                of = "" if name == "single" else f" of {name}"
                yield Rule(
                    (*place, *path) if given else ("learning", "step"),
                    f"{path[0]}{of} ({rows}) is below step ({self.step}); models change only at step ends",
                )
