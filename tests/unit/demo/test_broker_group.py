"""The group's state machine by itself; both brokers' answers over TCP are compared in the integration suite."""

import asyncio

from streamgmm.demo.broker_group import COMPLETING, EMPTY, PREPARING, STABLE, Group, Member
from streamgmm.demo.broker_protocol import Code

RANGE = (("range", b"1"),)


def member(name, protocols=RANGE, *, instance=None, session=30.0, rebalance=30.0):
    return Member(name, instance, "client", session, rebalance, protocols)


def run(test):
    """Run a coroutine test on a loop of its own."""

    def wrapped():
        asyncio.run(asyncio.wait_for(test(), 120))

    wrapped.__name__ = test.__name__
    return wrapped


async def gathered(group, *names):
    """A stable group with these members."""
    joins = [group.add(member(name)) for name in names[:1]]
    joins += [group.rejoin(group.members[n], RANGE) if n in group.members else group.add(member(n)) for n in names[1:]]
    if len(names) > 1:
        joins.append(group.rejoin(group.members[names[0]], RANGE))
    answers = await asyncio.gather(*joins[1:] or joins)
    syncs = [group.sync(m, {n: n.encode() for n in names}) for m in sorted_for_sync(group)]
    assert await asyncio.gather(*syncs) == [Code.NONE] * len(names)
    assert group.state == STABLE
    return answers


def sorted_for_sync(group):
    """Followers first, so that they wait for the leader."""
    return sorted(group.members.values(), key=lambda m: m.member_id == group.leader)


@run
async def test_one_member_leads_itself():
    group = Group("g")
    answer = await group.add(member("a"))
    assert (answer["leader"], answer["generation_id"], answer["protocol_name"]) == ("a", 1, "range")
    assert [m["member_id"] for m in answer["members"]] == ["a"]
    assert group.state == COMPLETING
    assert await group.sync(group.members["a"], {"a": b"all"}) == Code.NONE
    assert group.members["a"].assignment == b"all"
    assert group.state == STABLE
    group.close()


@run
async def test_a_newcomer_waits_for_everybody():
    group = Group("g")
    await gathered(group, "a")
    joined = group.add(member("b"))
    assert group.state == PREPARING
    assert not joined.done()
    assert group.check("a", None, 1) == Code.NONE
    leader = await group.rejoin(group.members["a"], RANGE)
    follower = await joined
    assert leader["generation_id"] == follower["generation_id"] == 2
    assert len(leader["members"]) == 2
    assert follower["members"] == []
    waiting = group.sync(group.members["b"], {})
    assert not waiting.done()
    await group.sync(group.members["a"], {"a": b"1", "b": b"2"})
    assert await waiting == Code.NONE
    assert group.members["b"].assignment == b"2"
    group.close()


@run
async def test_who_does_not_come_back_in_time_is_left_out():
    group = Group("g")
    await gathered(group, "a")
    group.members["a"].rebalance = 0.05
    answer = await group.add(member("b", rebalance=0.05))
    assert (answer["leader"], list(group.members)) == ("b", ["b"])
    group.close()


@run
async def test_a_silent_member_expires_and_a_waiting_one_does_not():
    group = Group("g")
    await gathered(group, "a")
    group.members["a"].session = 0.05
    group.touch(group.members["a"])
    joined = group.add(member("b", session=0.02))
    answer = await joined
    assert list(group.members) == ["b"]
    assert answer["leader"] == "b"
    group.close()


@run
async def test_a_heartbeat_keeps_a_member():
    group = Group("g")
    await gathered(group, "a")
    group.members["a"].session = 0.3
    for _ in range(5):
        assert group.check("a", None, 1) == Code.NONE
        await asyncio.sleep(0.1)
    assert "a" in group.members
    group.close()


@run
async def test_the_last_to_leave_empties_the_group():
    group = Group("g")
    await gathered(group, "a")
    assert group.remove("a") == Code.NONE
    assert group.state == EMPTY
    assert group.remove("a") == Code.UNKNOWN_MEMBER_ID
    assert group.check("a", None, 1) == Code.UNKNOWN_MEMBER_ID


@run
async def test_old_generations_are_refused():
    group = Group("g")
    await gathered(group, "a")
    assert group.check("a", None, 0) == Code.ILLEGAL_GENERATION
    group.close()


@run
async def test_nothing_changes_for_a_follower_that_joins_again():
    group = Group("g")
    await gathered(group, "a", "b")
    generation = group.generation
    follower = next(m for m in group.members.values() if m.member_id != group.leader)
    assert (await group.rejoin(follower, RANGE))["generation_id"] == generation
    assert group.state == STABLE
    changed = group.rejoin(follower, (("range", b"2"),))
    assert group.state == PREPARING
    assert not changed.done()
    group.close()


@run
async def test_the_protocol_is_one_that_all_know():
    group = Group("g")
    first = group.add(member("a", (("sticky", b""), ("range", b""))))
    await first
    assert group.protocol == "sticky"
    assert group.agrees((("range", b""),))
    assert not group.agrees((("other", b""),))
    joined = group.add(member("b", (("range", b""),)))
    await group.rejoin(group.members["a"], (("sticky", b""), ("range", b"")))
    assert (await joined)["protocol_name"] == "range"
    group.close()


@run
async def test_a_static_member_takes_its_place_again_and_its_ghost_is_fenced():
    group = Group("g")
    await group.add(member("old", instance="i"))
    await group.sync(group.members["old"], {"old": b"mine"})
    answer = await group.replace("i", member("new", instance="i"))
    assert answer["generation_id"] == 1
    assert answer["leader"] == "old"  # so that it does not compute an assignment that nobody asked for
    assert group.state == STABLE
    assert await group.sync(group.members["new"], {}) == Code.NONE
    assert group.members["new"].assignment == b"mine"
    assert group.check("old", "i", 1) == Code.FENCED_INSTANCE_ID
    assert group.check("new", "i", 1) == Code.NONE
    group.close()


@run
async def test_a_rebalance_in_the_middle_of_a_sync_sends_followers_back():
    group = Group("g")
    a = group.add(member("a"))
    await a
    await group.sync(group.members["a"], {})
    b = group.add(member("b"))
    await group.rejoin(group.members["a"], RANGE)
    await b
    follower = next(m for m in group.members.values() if m.member_id != group.leader)
    waiting = group.sync(follower, {})
    group.add(member("c"))
    assert await waiting == Code.REBALANCE_IN_PROGRESS
    group.close()
