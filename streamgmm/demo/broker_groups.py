"""The group requests of the embedded broker: join, sync, heartbeat, leave, commit, and the looking at all that."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from streamgmm.demo.broker_group import COMPLETING, EMPTY, PREPARING, Group, Member, Protocols, refused
from streamgmm.demo.broker_offsets import Committed
from streamgmm.demo.broker_protocol import Body, Code, Reply

if TYPE_CHECKING:
    from streamgmm.demo.broker_faults import Faults
    from streamgmm.demo.broker_offsets import Offsets

MIN_SESSION_MS, MAX_SESSION_MS = 1000, 1_800_000
MEMBER_ID_SINCE = 4  # JoinGroup version from which a new dynamic member is sent away once to come back with an id


class Groups:
    """All groups, and what they committed."""

    def __init__(self, offsets: Offsets, faults: Faults) -> None:
        self._offsets = offsets
        self._faults = faults
        self._groups: dict[str, Group] = {}

    def close(self) -> None:
        """Stop every timer."""
        for group in self._groups.values():
            group.close()

    async def join(self, body: Body, version: int, client_id: str) -> Reply:
        """Answer JoinGroup; this may take as long as the slowest member."""
        code = self._faults.refusal("JoinGroup")
        if not code and not MIN_SESSION_MS <= body.session_timeout_ms <= MAX_SESSION_MS:
            code = Code.INVALID_SESSION_TIMEOUT
        if code:
            return refused(code, body.member_id)
        group = self._groups.setdefault(body.group_id, Group(body.group_id))
        protocols = tuple((p.name, bytes(p.metadata)) for p in body.protocols)
        if not group.agrees(protocols):
            return refused(Code.INCONSISTENT_GROUP_PROTOCOL, body.member_id)
        if not body.member_id:
            return await self._join_new(group, body, version, client_id, protocols)
        return await self._join_known(group, body, client_id, protocols)

    async def _join_new(self, group: Group, body: Body, version: int, client_id: str, protocols: Protocols) -> Reply:
        instance = body.group_instance_id
        if instance is None and version >= MEMBER_ID_SINCE:
            return refused(Code.MEMBER_ID_REQUIRED, group.promise(client_id))
        newcomer = _member(body, f"{instance or client_id}-{uuid.uuid4()}", client_id, protocols)
        group.protocol_type = body.protocol_type
        if instance in group.static:
            return await group.replace(instance, newcomer)
        return await group.add(newcomer)

    async def _join_known(self, group: Group, body: Body, client_id: str, protocols: Protocols) -> Reply:
        if body.member_id in group.promised:
            group.protocol_type = body.protocol_type
            return await group.add(_member(body, body.member_id, client_id, protocols))
        code = group.identify(body.member_id, body.group_instance_id)
        if code:
            return refused(code, body.member_id)
        return await group.rejoin(group.members[body.member_id], protocols)

    async def sync(self, body: Body, _version: int) -> Reply:
        """Answer SyncGroup; followers wait for the leader."""
        group = self._groups.get(body.group_id)
        code = self._faults.refusal("SyncGroup") or self._check(group, body, body.generation_id)
        assignment = b""
        if group is not None and not code:
            member = group.members[body.member_id]
            given = {a.member_id: bytes(a.assignment) for a in body.assignments}
            code = await group.sync(member, given)
            assignment = member.assignment if not code else b""
        return {
            "error_code": code,
            "protocol_type": group.protocol_type if group else "",
            "protocol_name": group.protocol if group else "",
            "assignment": assignment,
        }

    def heartbeat(self, body: Body, _version: int) -> Reply:
        """Answer Heartbeat; this is how members learn of a rebalance."""
        group = self._groups.get(body.group_id)
        code = self._faults.refusal("Heartbeat") or self._check(group, body, body.generation_id)
        if not code and group is not None and group.state == PREPARING:
            code = Code.REBALANCE_IN_PROGRESS
        return {"error_code": code}

    def _check(self, group: Group | None, body: Body, generation: int) -> Code:
        if group is None:
            return Code.UNKNOWN_MEMBER_ID
        return group.check(body.member_id, body.group_instance_id, generation)

    def leave(self, body: Body, version: int) -> Reply:
        """Answer LeaveGroup: one member up to version 2, several since."""
        group = self._groups.get(body.group_id)
        several = version >= 3
        leaving = [(m.member_id, m.group_instance_id) for m in body.members] if several else [(body.member_id, None)]
        answers = [
            {"member_id": member, "group_instance_id": instance, "error_code": _leave(group, member, instance)}
            for member, instance in leaving
        ]
        return {"error_code": Code.NONE if several else answers[0]["error_code"], "members": answers}

    def commit(self, body: Body, _version: int) -> Reply:
        """Answer OffsetCommit: from a member of this generation, or from anybody while the group is empty."""
        code = self._faults.refusal("OffsetCommit") or self._may_commit(body)
        topics = []
        for topic in body.topics:
            for p in topic.partitions:
                if not code:
                    stored = Committed(p.committed_offset, p.committed_metadata or "", p.committed_leader_epoch)
                    self._offsets.store(body.group_id, topic.name, p.partition_index, stored)
            answers = [{"partition_index": p.partition_index, "error_code": code} for p in topic.partitions]
            topics.append({"name": topic.name, "partitions": answers})
        return {"topics": topics}

    def _may_commit(self, body: Body) -> Code:
        group = self._groups.get(body.group_id)
        generation = body.generation_id_or_member_epoch
        if generation < 0 and not body.member_id:
            return Code.UNKNOWN_MEMBER_ID if group is not None and group.members else Code.NONE
        code = self._check(group, body, generation)
        if not code and group is not None and group.state == COMPLETING:
            return Code.REBALANCE_IN_PROGRESS
        return code

    def fetch_offsets(self, body: Body, _version: int) -> Reply:
        """Answer OffsetFetch."""
        code = self._faults.refusal("OffsetFetch")
        if body.topics is None:
            wanted = self._offsets.partitions(body.group_id)
        else:
            wanted = {topic.name: list(topic.partition_indexes) for topic in body.topics}
        topics = [
            {"name": topic, "partitions": [self._committed(body.group_id, topic, p, code) for p in partitions]}
            for topic, partitions in wanted.items()
        ]
        return {"topics": topics, "error_code": code}

    def _committed(self, group_id: str, topic: str, partition: int, code: Code) -> Reply:
        stored = self._offsets.get(group_id, topic, partition)
        return {
            "partition_index": partition,
            "committed_offset": stored.offset,
            "committed_leader_epoch": stored.leader_epoch,
            "metadata": stored.metadata,
            "error_code": code,
        }

    def list_groups(self, _body: Body, _version: int) -> Reply:
        """Answer ListGroups."""
        known = sorted(set(self._groups) | self._offsets.groups())
        found = [self._groups.get(group_id, Group(group_id)) for group_id in known]
        return {
            "error_code": Code.NONE,
            "groups": [
                {"group_id": g.group_id, "protocol_type": g.protocol_type or "consumer", "group_state": g.state}
                for g in found
            ],
        }

    def describe_groups(self, body: Body, _version: int) -> Reply:
        """Answer DescribeGroups."""
        return {"groups": [self._described(group_id) for group_id in body.groups]}

    def _described(self, group_id: str) -> Reply:
        group = self._groups.get(group_id)
        known = group is not None or group_id in self._offsets.groups()
        members = group.members.values() if group is not None else ()
        return {
            "error_code": Code.NONE,
            "group_id": group_id,
            "group_state": group.state if group is not None else EMPTY if known else "Dead",
            "protocol_type": group.protocol_type if group is not None else "",
            "protocol_data": group.protocol if group is not None else "",
            "members": [_described_member(member, group.protocol if group is not None else "") for member in members],
        }

    def delete_groups(self, body: Body, _version: int) -> Reply:
        """Answer DeleteGroups: only empty ones can go."""
        return {"results": [{"group_id": g, "error_code": self._delete(g)} for g in body.groups_names]}

    def _delete(self, group_id: str) -> Code:
        group = self._groups.get(group_id)
        if group is not None and group.members:
            return Code.NON_EMPTY_GROUP
        forgotten = self._offsets.forget(group_id)
        return Code.NONE if self._groups.pop(group_id, None) is not None else forgotten


def _member(body: Body, member_id: str, client_id: str, protocols: Protocols) -> Member:
    return Member(
        member_id,
        body.group_instance_id,
        client_id,
        body.session_timeout_ms / 1000,
        body.rebalance_timeout_ms / 1000,
        protocols,
    )


def _leave(group: Group | None, member_id: str, instance_id: str | None) -> Code:
    if group is None:
        return Code.UNKNOWN_MEMBER_ID
    if instance_id and not member_id:  # an administrator removes a static member by its instance
        member_id = group.static.get(instance_id, "")
    return group.identify(member_id, instance_id) or group.remove(member_id)


def _described_member(member: Member, protocol: str) -> Reply:
    return {
        "member_id": member.member_id,
        "group_instance_id": member.instance_id,
        "client_id": member.client_id,
        "client_host": "/127.0.0.1",
        "member_metadata": member.metadata(protocol),
        "member_assignment": member.assignment,
    }
