"""The past of the source's topics as rows, decoded as the daemon decodes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm import wiring
from streamgmm.config.inputs import KafkaSource
from streamgmm.errors import ConfigError
from streamgmm.order import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamgmm.config import Config
    from streamgmm.records import Floats, TopicPartition


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows in the order of the stream.

    Attributes
    ----------
    X : (n, n_fields)
        As the codec made them: NaN is missing, a category is its number.
    t : (n,)
        Event times, seconds since the epoch; NaN where there is none.
    keys
        The record key of each row.
    records
        How many were read.
    rejected
        Rows and records that are no vector, by the reason.
    """

    X: Floats
    t: Floats
    keys: tuple[bytes | None, ...]
    records: int
    rejected: Mapping[str, int]


def read(config: Config, most: int, progress: Callable[[float, int], None] | None = None) -> Backlog:
    """Read the source's topics from their beginning to the end they have now; join no group, commit nothing.

    Rows of one partition keep their order; several partitions are merged by event time.

    Parameters
    ----------
    most
        The newest records of each partition that are read, and the newest rows of them all that are returned.
    progress
        Is told the share that is read, 0 to 1, and the rows so far.

    Raises
    ------
    ConfigError
        The source is no topic, or there is no codec.
    RetryableError, StopError
        As every connection does.
    """
    from streamgmm.bus import backlog  # noqa: PLC0415 - only Kafka users pay for kafka-python

    source = config.source
    if not isinstance(source, KafkaSource):
        raise ConfigError("there is no topic to read", hint="give a source of type kafka, or --input FILE")
    codec = wiring.codec(config)
    rows = [np.empty((0, len(codec.fields)))]
    times = [np.empty(0)]
    keys: list[bytes | None] = []
    records, rejected = 0, Counter[str]()
    partitions: dict[TopicPartition, int] = {}
    of_row = [np.empty(0, dtype=np.int64)]
    connection = wiring.source_connection(source)
    level = source.isolation_level
    for batch, share in backlog.batches(connection, source.all_topics, most, isolation_level=level):
        decoded = codec.decode(batch)
        rows.append(decoded.X)
        times.append(decoded.event_time)
        keys += [batch.key[i] for i in decoded.record.tolist()]
        records += len(batch)
        numbers = np.array([partitions.setdefault(tp, len(partitions)) for tp in batch.partitions], dtype=np.int64)
        of_row.append(numbers[batch.partition][decoded.record] if len(batch) else of_row[0])
        rejected.update(reject.reason for reject in decoded.rejects)
        if progress is not None:
            progress(share, len(keys))
    X, t = np.concatenate(rows), np.concatenate(times)
    order = merged(t, np.concatenate(of_row))[-most:]
    return Backlog(np.ascontiguousarray(X[order]), t[order], tuple(keys[i] for i in order.tolist()), records, rejected)
