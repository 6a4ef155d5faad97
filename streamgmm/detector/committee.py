"""The detector: members with different memories, the mean of whose log-densities is the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.member import Member, select
from streamgmm.records import Contribution, Explanation, Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.mixture.attribution import Attribution

    Floats = NDArray[np.float64]

# What a row is said to be at least: sums and differences of such log-densities are finite too.
LEAST = -1e300


@dataclass(frozen=True, slots=True)
class Detector:
    """A frozen value: the members and the version under which they serve."""

    members: tuple[Member, ...]
    version: Version

    def log_density(self, X: Floats) -> Floats:
        """Return the weighted mean of the members' log-densities (n,), nats per unit of the columns; always finite."""
        voters, shown = self.voters, None
        total, weights = np.zeros(len(X)), 0.0
        for member in voters:
            sight = member.sight
            if sight.stems:
                seen = sight.of(X)
            else:  # all of these see the same
                seen = shown = sight.of(X) if shown is None else shown
            total += sight.weight * member.seen_log_density(seen)
            weights += sight.weight
        return np.fmax(total / weights, LEAST)

    @property
    def voters(self) -> tuple[Member, ...]:
        """The members that have a say."""
        return tuple(member for member in self.members if member.sight.weight)

    def explain(self, X: Floats, names: Sequence[str]) -> list[Explanation]:
        """Say why rows (n, d) are improbable: surprise is the mean over members, all else the first full member's."""
        if not len(X):
            return []
        X = np.ascontiguousarray(X)
        voters = self.voters
        parts = [member.explain(X) for member in voters]
        teller = next((i for i, member in enumerate(voters) if member.is_full), 0)
        folded = [
            [m.sight.folded(nats, len(names)) for nats in (part.surprise, m.usual_surprise(part.stddev))]
            for m, part in zip(voters, parts, strict=True)
        ]
        surprise, usual = np.average(folded, axis=0, weights=[member.sight.weight for member in voters])
        observed = voters[teller].view.encode(voters[teller].sight.of(X))
        return _explanations(voters[teller].name, parts[teller], surprise, usual, observed, names)

    def with_member(self, index: int, member: Member, version: Version) -> Detector:
        """Return a detector in which one member was exchanged."""
        members = (*self.members[:index], member, *self.members[index + 1 :])
        return Detector(members, version)

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


def _explanations(
    member: str, told: Attribution, surprise: Floats, usual: Floats, observed: Floats, names: Sequence[str]
) -> list[Explanation]:
    """Put arrays into words, the most surprising features first; missing ones are left out."""
    order = np.argsort(-surprise, axis=1, kind="stable")
    known = np.isfinite(observed)
    # Whole arrays to Python numbers at once: cell by cell, this would take longer than the mathematics.
    cells = [a.tolist() for a in (surprise, told.share, observed, told.expected, told.stddev, usual)]
    rows = zip(order.tolist(), known.tolist(), *cells, strict=True)
    contributions = [
        tuple(
            Contribution(
                feature=names[j],
                surprise=s[j],
                share=part[j],
                observed=seen[j],
                expected=mean[j],
                stddev=sd[j],
                usual=u[j],
            )
            for j in best
            if present[j]
        )
        for best, present, s, part, seen, mean, sd, u in rows
    ]
    facts = zip(
        contributions, told.component.tolist(), told.responsibilities.tolist(), told.distance2.tolist(), strict=True
    )
    return [
        Explanation(
            member=member,
            component=component,
            responsibilities=tuple(responsibilities),
            distance2=distance2,
            contributions=parts,
        )
        for parts, component, responsibilities, distance2 in facts
    ]
