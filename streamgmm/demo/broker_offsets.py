"""Committed offsets of the embedded broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from streamgmm.demo.broker_protocol import Code

if TYPE_CHECKING:
    from pathlib import Path


class Committed(NamedTuple):
    """What a group stored for a partition."""

    offset: int = -1
    metadata: str = ""
    leader_epoch: int = -1


class Offsets:
    """Offsets by (group, topic, partition); a line per commit in `offsets.jsonl`, of which the last one counts."""

    def __init__(self, directory: Path | None) -> None:
        self._stored: dict[tuple[str, str, int], Committed] = {}
        self._file = None
        if directory is None:
            return
        path = directory / "offsets.jsonl"
        if path.exists():
            self._restore(path)
        self._file = path.open("a", buffering=1)

    def _restore(self, path: Path) -> None:
        lines = path.read_text().splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # a line without its end was being written when the process died
                group, topic, partition, offset, metadata, epoch = json.loads(line)
                self._stored[group, topic, partition] = Committed(offset, metadata, epoch)
        path.write_text("".join(self._line(key, value) for key, value in self._stored.items()))

    @staticmethod
    def _line(key: tuple[str, str, int], value: Committed) -> str:
        return json.dumps([*key, *value]) + "\n"

    def store(self, group: str, topic: str, partition: int, value: Committed) -> None:
        """Store what a group committed."""
        key = (group, topic, partition)
        self._stored[key] = value
        if self._file is not None:
            self._file.write(self._line(key, value))

    def get(self, group: str, topic: str, partition: int) -> Committed:
        """Return what a group committed; offset -1 where it did not."""
        return self._stored.get((group, topic, partition), Committed())

    def partitions(self, group: str) -> dict[str, list[int]]:
        """Return every partition that a group committed for, by topic."""
        found: dict[str, list[int]] = {}
        for owner, topic, partition in self._stored:
            if owner == group:
                found.setdefault(topic, []).append(partition)
        return found

    def groups(self) -> set[str]:
        """Return the groups that have committed anything."""
        return {group for group, _, _ in self._stored}

    def forget(self, group: str) -> Code:
        """Forget a group's offsets."""
        dead = [key for key in self._stored if key[0] == group]
        for key in dead:
            del self._stored[key]
            if self._file is not None:
                self._file.write(self._line(key, Committed()))
        return Code.NONE if dead else Code.GROUP_ID_NOT_FOUND

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
