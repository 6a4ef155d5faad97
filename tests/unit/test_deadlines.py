"""Every deadline of the configuration is one that the supervisor keeps to."""

import pytest

from streamgmm import assembly
from streamgmm.config import Config
from streamgmm.config.loader import parse
from streamgmm.config.section import Section
from streamgmm.records import Contact, Report, TopicPartition
from streamgmm.supervisor import Supervisor

P0 = TopicPartition("t", 0)
HOUR = 3600.0
# The key → the parts that may be at work for so long.
PARTS = {
    "learning.refit_deadline": ("refit",),
    "limits.loop_deadline": ("decode", "features", "score", "render"),
    "limits.sink_deadline": ("deliver", "commit"),
    "limits.stall_deadline": (),
}


def test_every_deadline_of_the_configuration_is_tried_here():
    found = {
        f"{name}.{key}"
        for name in Config.model_fields
        if isinstance(section := getattr(parse({}, require=()), name), Section)
        for key in type(section).model_fields
        if key.endswith("deadline")
    }
    assert found == set(PARTS)


def supervisor(key, seconds, clock):
    section, name = key.split(".")
    config = parse({section: {name: seconds}}, require=())
    return Supervisor(
        last_resort=lambda: None,
        now=lambda: clock[0],
        deadlines=assembly.deadlines(config),
        stall_deadline=config.limits.stall_deadline,
    )


@pytest.mark.parametrize(("key", "part"), [(key, part) for key, parts in PARTS.items() for part in parts])
def test_a_part_may_take_as_long_as_the_configuration_says(key, part):
    clock = [0.0]
    watch = supervisor(key, HOUR, clock)
    watch.progress(Report(assigned=(P0,), next_offsets={P0: 1}, lag={P0: 0}))
    with watch.busy(part):
        clock[0] = HOUR
        assert watch.stuck() == []
        clock[0] = 2 * HOUR
        assert part in [s.part for s in watch.stuck()]


def test_a_partition_may_stand_as_long_as_the_configuration_says():
    clock = [0.0]
    watch = supervisor("limits.stall_deadline", HOUR, clock)

    def stands():
        watch.progress(Report(assigned=(P0,), next_offsets={P0: 1}, lag={P0: 5}, contact=Contact()))

    stands()
    while clock[0] < HOUR:
        clock[0] += 5.0
        stands()
    assert watch.stuck() == []
    clock[0] += 5.0
    stands()
    (stuck,) = watch.stuck()
    assert stuck.part == "partition t/0"
