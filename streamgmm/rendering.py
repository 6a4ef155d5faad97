"""From verdicts to messages: what each kind of outlet gets of a part."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.paging import Flag, Paging
from streamgmm.sinks import _rendering as messages
from streamgmm.sinks import _scores as scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamgmm.codecs import Codec
    from streamgmm.ledger import Part
    from streamgmm.records import Anomaly, FeatureBatch, Floats, OutputRecord, RecordBatch, ScoredBatch


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders only what some outlet takes; muted records give nothing.

    Attributes
    ----------
    names
        Of the columns that were scored.
    takes
        What outlets ask for: anomalies, all, packed, dead_letters, or a feed of `pages` by its name.
    dead_letter_topic
        Source topic → where its dead letters go; None where the sink has one place only.
    pages
        The feeds of sinks that want incidents, or not too many records.
    dead_letter_bytes
        Most bytes of a dead letter's value; a longer one is truncated.
    """

    codec: Codec
    names: Sequence[str]
    takes: frozenset[str]
    dead_letter_topic: Callable[[str], str | None]
    pages: Paging = field(default_factory=Paging)
    dead_letter_bytes: int = 2**30

    def __call__(
        self, batch: RecordBatch, fields: FeatureBatch, columns: Floats, part: Part, scored: ScoredBatch
    ) -> dict[str, Sequence[OutputRecord]]:
        """Return the messages of one part by the kind of outlet."""
        mine = replace(
            fields,
            X=columns[part.rows, : len(self.names)],
            record=fields.record[part.rows],
            row=fields.row[part.rows],
            event_time=fields.event_time[part.rows],
        )
        rendered: dict[str, Sequence[OutputRecord]] = {}
        if "anomalies" in self.takes or "all" in self.takes:
            rendered["anomalies"] = self._anomalies(batch, mine, part, scored)
        if "all" in self.takes:
            others = np.flatnonzero(~scored.is_anomaly & ~part.muted[mine.record])
            rendered["all"] = [*rendered["anomalies"], *scores.score_records(batch, mine, scored, others)]
        if "packed" in self.takes:
            every = np.flatnonzero(~part.muted[mine.record])
            rendered["packed"] = list(scores.packed_records(batch, mine, scored, every))
        if self.pages.feeds:
            rendered |= self._pages(batch, mine, part, scored)
        if "dead_letters" in self.takes:
            rejects = part.rejects(fields)
            rendered["dead_letters"] = messages.dead_letters(
                batch, rejects, self.dead_letter_topic, self.dead_letter_bytes
            )
        return rendered

    def _anomalies(self, batch: RecordBatch, mine: FeatureBatch, part: Part, scored: ScoredBatch) -> list[OutputRecord]:
        return [
            self._anomaly(batch, mine, scored, anomaly)
            for anomaly in scored.anomalies
            if not part.muted[mine.record[anomaly.index]]
        ]

    def _anomaly(
        self, batch: RecordBatch, mine: FeatureBatch, scored: ScoredBatch, anomaly: Anomaly, suppressed: int = 0
    ) -> OutputRecord:
        payload = batch.value[int(mine.record[anomaly.index])] or b""
        passthrough = self.codec.passthrough(payload, int(mine.row[anomaly.index]))
        return messages.anomaly_record(batch, mine, scored, anomaly, self.names, passthrough, suppressed)

    def _pages(
        self, batch: RecordBatch, mine: FeatureBatch, part: Part, scored: ScoredBatch
    ) -> dict[str, list[OutputRecord]]:
        """Return what is due to each feed; pages of muted rows have left before the restart."""
        rendered: dict[str, list[OutputRecord]] = {feed.name: [] for feed in self.pages.feeds}
        flags = [Flag(a, messages.flagged_row(batch, mine, scored, a)) for a in scored.anomalies]
        for page in self.pages.take(flags, scored.ended):
            if part.muted[mine.record[page.index]]:
                continue
            if page.held:
                self.pages.note_held(page.feed)
            elif page.anomaly is not None:
                rendered[page.feed].append(self._anomaly(batch, mine, scored, page.anomaly, page.suppressed))
            elif page.incident is not None:
                record = messages.incident_record(page.incident, closed=page.closed, suppressed=page.suppressed)
                rendered[page.feed].append(record)
        return rendered
