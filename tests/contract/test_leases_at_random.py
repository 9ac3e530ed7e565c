"""A property test of leases: whatever is taken, renewed, given back or left to itself, nobody is ever too many."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mainspring.brokers.leases import KEPT, LEASE_TIME, Lease
from mainspring.clock import SECOND

LEASE = LEASE_TIME // SECOND
STEPS = 40

names = st.sampled_from("ab")
slots = st.integers(1, 3)
some = st.sets(st.integers(0, 30), max_size=5)  # how long ago they were taken: 0 is the last


class Owners(RuleBasedStateMachine):
    """Everybody who was ever given a lease, with what he must find; time moves in fives of seconds only."""

    numbers = iter(range(1_000_000))  # so that each example has names of its own

    def __init__(self, broker):
        super().__init__()
        self.broker, self.number = broker, next(self.numbers)
        self.leases = []
        self.age = {}  # seconds since the last renewal of those that are not lost, nor given back
        self.last = {}

    def stored(self, name):
        return f"{self.number} {name}"

    @rule(name=names, slots=slots)
    def take(self, name, slots):
        name = self.stored(name)
        live = [lease for lease, age in self.age.items() if lease.name == name and age < LEASE]
        token = self.broker.take_lease(name, slots)
        assert (token is None) == (len(live) >= slots)
        if token is not None:
            assert token > self.last.get(name, 0)
            self.last[name] = token
            self.age = {lease: age for lease, age in self.age.items() if lease.name != name or age < LEASE}
            self.leases.append(Lease(name, token))
            self.age[self.leases[-1]] = 0

    @rule(some=some)
    def renew(self, some):
        asked = self.chosen(some)
        kept = self.broker.renew_leases(asked)
        assert kept == {lease for lease in asked if lease in self.age}
        self.age |= dict.fromkeys(kept, 0)

    @rule(some=some)
    def give_back(self, some):
        for lease in self.chosen(some):
            assert self.broker.drop_lease(lease) == (lease in self.age)
            self.age.pop(lease, None)

    @rule(seconds=st.sampled_from([5, 5, 10, LEASE, 60]))
    def pass_time(self, seconds):
        self.broker.clock.travel(seconds)
        self.age = {lease: age + seconds for lease, age in self.age.items()}

    @rule()
    def pass_days(self):
        """Names are forgotten then, whenever another is new."""
        self.broker.clock.travel(KEPT // SECOND + 60)
        self.age = {lease: age + KEPT for lease, age in self.age.items()}
        self.broker.take_lease(f"{self.number} {next(self.numbers)}", 1)
        self.age = {}

    @invariant()
    def tokens_are_all_different(self):
        assert len(set(self.leases)) == len(self.leases)

    def chosen(self, some):
        return [self.leases[-1 - ago] for ago in some if ago < len(self.leases)]


@pytest.mark.timeout(0)
def test_nobody_is_ever_too_many(broker):
    number = os.environ.get("MAINSPRING_EXAMPLES")
    profile = settings(
        max_examples=int(number or 30),
        stateful_step_count=STEPS,
        derandomize=number is None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(lambda: Owners(broker), settings=profile)
