"""The detector: members with different memories, the mean of whose log-densities is the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.member import Member, select
from streamgmm.records import Contribution, Explanation, Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detector:
    """A frozen value: the members and the version under which they serve."""

    members: tuple[Member, ...]
    version: Version

    def log_density(self, X: Floats) -> Floats:
        """Return the mean of the members' log-densities (n,), nats per unit of the columns."""
        total = self.members[0].log_density(X)
        for member in self.members[1:]:
            total = total + member.log_density(X)
        return total / len(self.members)

    def explain(self, x: Floats, names: Sequence[str]) -> Explanation:
        """Say why one row (d,) is improbable: surprise is the mean over members, all else the first full member's."""
        rows = x.reshape(1, -1)
        parts = [member.explain(rows) for member in self.members]
        teller = next((i for i, member in enumerate(self.members) if member.is_full), 0)
        first = parts[teller]
        surprise = np.mean([p.surprise[0] for p in parts], axis=0)
        observed = self.members[teller].view.encode(rows)[0]
        order = np.argsort(-surprise, kind="stable")
        contributions = tuple(
            Contribution(
                feature=names[j],
                surprise=float(surprise[j]),
                share=float(first.share[0, j]),
                observed=float(observed[j]),
                expected=float(first.expected[0, j]),
                stddev=float(first.stddev[0, j]),
            )
            for j in order
            if np.isfinite(observed[j])
        )
        return Explanation(
            member=self.members[teller].name,
            component=int(first.component[0]),
            responsibilities=tuple(float(r) for r in first.responsibilities[0]),
            distance2=float(first.distance2[0]),
            contributions=contributions,
        )

    def with_member(self, index: int, member: Member, version: Version) -> Detector:
        """Return a detector in which one member was exchanged."""
        members = (*self.members[:index], member, *self.members[index + 1 :])
        return replace(self, members=members, version=version)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        arrays: dict[str, NDArray[Any]] = {"version": np.array(self.version), "n_members": np.array(len(self.members))}
        for i, member in enumerate(self.members):
            arrays |= {f"member{i}.{k}": v for k, v in member.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Detector:
        """Rebuild what `to_arrays` gave."""
        members = tuple(Member.from_arrays(select(arrays, f"member{i}.")) for i in range(int(arrays["n_members"])))
        return cls(members, Version(*(int(v) for v in arrays["version"])))
