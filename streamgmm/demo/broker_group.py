"""One consumer group: who is in it, which generation it is in, and how a rebalance goes.

The classic protocol: members join, the broker waits for all of them, one of them computes the assignment, all sync.
States are Kafka's: Empty, PreparingRebalance, CompletingRebalance, Stable.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

from streamgmm.demo.broker_protocol import Code, Reply

EMPTY, PREPARING, COMPLETING, STABLE = "Empty", "PreparingRebalance", "CompletingRebalance", "Stable"

Protocols: TypeAlias = tuple[tuple[str, bytes], ...]
Joined: TypeAlias = "asyncio.Future[Reply]"
Synced: TypeAlias = "asyncio.Future[Code]"


@dataclass
class Member:
    """One member; `joining` and `syncing` are answers that it still waits for."""

    member_id: str
    instance_id: str | None
    client_id: str
    session: float
    rebalance: float
    protocols: Protocols
    assignment: bytes = b""
    joining: Joined | None = None
    syncing: Synced | None = None
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)

    def metadata(self, protocol: str) -> bytes:
        """Return what the member said about itself for one protocol."""
        return dict(self.protocols).get(protocol, b"")


class Group:
    """The state machine of one group. Runs on the broker's loop only."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.state = EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self.static: dict[str, str] = {}
        self.promised: set[str] = set()
        self._deadline: asyncio.TimerHandle | None = None

    # Who is asking

    def check(self, member_id: str, instance_id: str | None, generation: int) -> Code:
        """Check that a request comes from a member of this generation; a good one counts as a heartbeat."""
        code = self.identify(member_id, instance_id)
        if not code and generation != self.generation:
            return Code.ILLEGAL_GENERATION
        if not code:
            self.touch(self.members[member_id])
        return code

    def identify(self, member_id: str, instance_id: str | None) -> Code:
        """Check that a member is who it says: a static one is fenced once its instance has come back elsewhere."""
        if instance_id and instance_id in self.static and self.static[instance_id] != member_id:
            return Code.FENCED_INSTANCE_ID
        return Code.NONE if member_id in self.members else Code.UNKNOWN_MEMBER_ID

    def touch(self, member: Member) -> None:
        """Start a member's session anew."""
        if member.expiry is not None:
            member.expiry.cancel()
        member.expiry = asyncio.get_running_loop().call_later(member.session, self._expire, member)

    def _expire(self, member: Member) -> None:
        if self.members.get(member.member_id) is not member:
            return
        if member.joining is not None or member.syncing is not None:
            self.touch(member)  # it waits for us, not we for it
        else:
            self.remove(member.member_id)

    # Joining

    def promise(self, client_id: str) -> str:
        """Hand out the id that a new dynamic member must come back with (KIP-394)."""
        member_id = f"{client_id or 'member'}-{uuid.uuid4()}"
        self.promised.add(member_id)
        return member_id

    def agrees(self, protocols: Protocols) -> bool:
        """Whether the members have a protocol in common with a new one."""
        offered = {name for name, _ in protocols}
        return all(offered & {name for name, _ in member.protocols} for member in self.members.values())

    def add(self, member: Member) -> Joined:
        """Take in a new member; the answer comes when the rebalance it starts has gathered everybody."""
        self.promised.discard(member.member_id)
        self.members[member.member_id] = member
        if member.instance_id:
            self.static[member.instance_id] = member.member_id
        return self._await_join(member)

    def rejoin(self, member: Member, protocols: Protocols) -> Joined:
        """Let a known member join again; a rebalance only starts when something can have changed."""
        changed = member.protocols != protocols
        member.protocols = protocols
        leads = member.member_id == self.leader
        settled = self.state == COMPLETING or (self.state == STABLE and not leads)
        if settled and not changed:
            return self._answered(self.joined(member))
        return self._await_join(member)

    def replace(self, instance_id: str, newcomer: Member) -> Joined:
        """Let a static member come back under a new id: in a stable group it gets its old assignment at once."""
        old = self.members.pop(self.static[instance_id])
        _settle(old.joining, refused(Code.FENCED_INSTANCE_ID, old.member_id))
        _settle(old.syncing, Code.FENCED_INSTANCE_ID)
        if old.expiry is not None:
            old.expiry.cancel()
        newcomer.assignment = old.assignment
        self.members[newcomer.member_id] = newcomer
        self.static[instance_id] = newcomer.member_id
        leader, led = self.leader, self.leader == old.member_id
        if led:
            self.leader = newcomer.member_id
        if self.state == STABLE and self._elected() == self.protocol:
            self.touch(newcomer)
            # Told that somebody else leads, it will not compute an assignment that nobody asked for.
            return self._answered(self.joined(newcomer) | {"leader": leader if led else self.leader, "members": []})
        return self._await_join(newcomer)

    def _answered(self, reply: Reply) -> Joined:
        future: Joined = asyncio.get_running_loop().create_future()
        future.set_result(reply)
        return future

    def _await_join(self, member: Member) -> Joined:
        _settle(member.joining, refused(Code.UNKNOWN_MEMBER_ID, member.member_id))
        member.joining = asyncio.get_running_loop().create_future()
        self.touch(member)
        joining = member.joining
        self._prepare()
        self._complete_if_all_joined()
        return joining

    def _prepare(self) -> None:
        if self.state == PREPARING:
            return
        self.state = PREPARING
        for member in self.members.values():
            _settle(member.syncing, Code.REBALANCE_IN_PROGRESS)
        patience = max(member.rebalance for member in self.members.values())
        self._cancel_deadline()
        self._deadline = asyncio.get_running_loop().call_later(patience, self._out_of_patience)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _out_of_patience(self) -> None:
        for member_id in [m.member_id for m in self.members.values() if m.joining is None]:
            self._forget(member_id)
        self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        if self.state != PREPARING:
            return
        if not self.members:
            self._become_empty()
        elif all(member.joining is not None for member in self.members.values()):
            self._cancel_deadline()
            self._next_generation()

    def _become_empty(self) -> None:
        self._cancel_deadline()
        self.state, self.leader, self.protocol = EMPTY, "", ""
        self.generation += 1

    def _next_generation(self) -> None:
        self.generation += 1
        self.state = COMPLETING
        self.protocol = self._elected()
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        for member in self.members.values():
            member.assignment = b""
            waiting, member.joining = member.joining, None
            self.touch(member)
            _settle(waiting, self.joined(member))

    def _elected(self) -> str:
        """Every member votes for its first protocol that all of them know."""
        offers = [[name for name, _ in member.protocols] for member in self.members.values()]
        common = set(offers[0]).intersection(*offers)
        votes = [next(name for name in offer if name in common) for offer in offers if common]
        return max(votes, key=votes.count) if votes else ""

    def joined(self, member: Member) -> Reply:
        """Return what a member is told; only the leader sees the others."""
        others = self.members.values() if member.member_id == self.leader else ()
        return {
            "error_code": Code.NONE,
            "generation_id": self.generation,
            "protocol_type": self.protocol_type,
            "protocol_name": self.protocol,
            "leader": self.leader,
            "member_id": member.member_id,
            "members": [
                {
                    "member_id": other.member_id,
                    "group_instance_id": other.instance_id,
                    "metadata": other.metadata(self.protocol),
                }
                for other in others
            ],
        }

    # Syncing and leaving

    def sync(self, member: Member, assignments: dict[str, bytes]) -> Synced:
        """Take the leader's assignment, or wait for it; the result says whether `member.assignment` holds."""
        future: Synced = asyncio.get_running_loop().create_future()
        if self.state == PREPARING:
            future.set_result(Code.REBALANCE_IN_PROGRESS)
        elif self.state == STABLE:
            future.set_result(Code.NONE)
        elif member.member_id == self.leader:
            self._distribute(assignments)
            future.set_result(Code.NONE)
        else:
            member.syncing = future
        return future

    def _distribute(self, assignments: dict[str, bytes]) -> None:
        self.state = STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            waiting, member.syncing = member.syncing, None
            self.touch(member)
            _settle(waiting, Code.NONE)

    def remove(self, member_id: str) -> Code:
        """Remove a member; the others must share its partitions."""
        if member_id not in self.members:
            return Code.UNKNOWN_MEMBER_ID
        self._forget(member_id)
        if not self.members:
            self._become_empty()
        elif self.state == PREPARING:
            self._complete_if_all_joined()
        else:
            self._prepare()
        return Code.NONE

    def _forget(self, member_id: str) -> None:
        member = self.members.pop(member_id)
        if member.instance_id:
            self.static.pop(member.instance_id, None)
        if member.expiry is not None:
            member.expiry.cancel()
        _settle(member.joining, refused(Code.UNKNOWN_MEMBER_ID, member_id))
        _settle(member.syncing, Code.UNKNOWN_MEMBER_ID)

    def close(self) -> None:
        """Cancel every timer."""
        self._cancel_deadline()
        for member in self.members.values():
            if member.expiry is not None:
                member.expiry.cancel()


def _settle(future: asyncio.Future[Reply] | asyncio.Future[Code] | None, answer: Reply | Code) -> None:
    if future is not None and not future.done():
        future.set_result(answer)  # type: ignore[arg-type] # callers pair the two kinds


def refused(code: Code, member_id: str) -> Reply:
    """Answer a join that does not go through."""
    return {
        "error_code": code,
        "generation_id": -1,
        "protocol_type": None,
        "protocol_name": "",
        "leader": "",
        "member_id": member_id,
        "members": [],
    }
