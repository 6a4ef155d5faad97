import pytest

from streamgmm.budget import BURST_SECONDS, WITH_CACHES, Budget


class Clocks:
    """Wall, process and thread time, moved by hand."""

    def __init__(self):
        self.wall = self.process = self.thread = 0.0

    def budget(self, share):
        return Budget(share, now=lambda: self.wall, process_time=lambda: self.process, thread_time=lambda: self.thread)

    def learn(self, budget, seconds):
        with budget.spending():
            self.run(seconds)
            self.thread += seconds

    def run(self, seconds, cores=1.0):
        self.wall += seconds
        self.process += seconds * cores


@pytest.mark.parametrize("cores", [1.0, 2.0])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_learning_gets_its_share_of_a_busy_process(share, cores):
    clocks = Clocks()
    budget = clocks.budget(share)
    learnt = 0.0
    for _ in range(20_000):
        clocks.run(0.01, cores)
        if budget.allows():
            clocks.learn(budget, 0.02)
            learnt += WITH_CACHES * 0.02
    kept = share * BURST_SECONDS
    assert learnt <= share * clocks.wall + kept + WITH_CACHES * 0.02
    assert learnt >= share * clocks.wall - WITH_CACHES * 0.02


def test_a_quiet_process_learns_in_proportion():
    clocks = Clocks()
    budget = clocks.budget(0.2)
    clocks.learn(budget, 0.2 * BURST_SECONDS / (WITH_CACHES - 0.2) + 0.001)
    assert not budget.allows()
    clocks.run(100.0, cores=0.0)
    assert not budget.allows()
    clocks.run(0.1)
    assert budget.allows()


def test_no_more_than_a_burst_is_kept():
    clocks = Clocks()
    budget = clocks.budget(0.2)
    clocks.run(1e6)
    assert budget.allows()
    clocks.learn(budget, 0.2 * BURST_SECONDS * 2)
    assert not budget.allows()


def test_time_spent_counts_also_when_learning_fails():
    clocks = Clocks()
    budget = clocks.budget(0.2)

    def fail():
        with budget.spending():
            clocks.thread += 100.0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not budget.allows()
