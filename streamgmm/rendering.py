"""From verdicts to messages: what each kind of outlet gets of a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.sinks import _rendering as messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamgmm.codecs import Codec
    from streamgmm.ledger import Part
    from streamgmm.records import FeatureBatch, Floats, OutputRecord, RecordBatch, ScoredBatch


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders only what some outlet takes; muted records give nothing.

    Attributes
    ----------
    names
        Of the columns that were scored.
    takes
        Kinds of outlet there are: anomalies, all, dead_letters.
    dead_letter_topic
        Source topic → where its dead letters go; None where the sink has one place only.
    """

    codec: Codec
    names: Sequence[str]
    takes: frozenset[str]
    dead_letter_topic: Callable[[str], str | None]

    def __call__(
        self, batch: RecordBatch, fields: FeatureBatch, columns: Floats, part: Part, scored: ScoredBatch
    ) -> dict[str, Sequence[OutputRecord]]:
        """Return the messages of one part by the kind of outlet."""
        mine = replace(
            fields,
            X=columns[part.rows],
            record=fields.record[part.rows],
            row=fields.row[part.rows],
            event_time=fields.event_time[part.rows],
        )
        rendered: dict[str, Sequence[OutputRecord]] = {}
        if "anomalies" in self.takes or "all" in self.takes:
            rendered["anomalies"] = self._anomalies(batch, mine, part, scored)
        if "all" in self.takes:
            rendered["all"] = [*rendered["anomalies"], *self._compact(batch, mine, part, scored)]
        if "dead_letters" in self.takes:
            rendered["dead_letters"] = [
                messages.dead_letter(batch, r, self.dead_letter_topic(batch.topic_partition(r.record).topic))
                for r in part.rejects(fields)
            ]
        return rendered

    def _anomalies(self, batch: RecordBatch, mine: FeatureBatch, part: Part, scored: ScoredBatch) -> list[OutputRecord]:
        rendered = []
        for anomaly in scored.anomalies:
            record = int(mine.record[anomaly.index])
            if not part.muted[record]:
                passthrough = self.codec.passthrough(batch.value[record] or b"")
                rendered.append(messages.anomaly_record(batch, mine, scored, anomaly, self.names, passthrough))
        return rendered

    @staticmethod
    def _compact(batch: RecordBatch, mine: FeatureBatch, part: Part, scored: ScoredBatch) -> list[OutputRecord]:
        rows = np.flatnonzero(~scored.is_anomaly & ~part.muted[mine.record])
        return [messages.compact_record(batch, mine, scored, int(i)) for i in rows]
