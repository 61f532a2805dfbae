"""Portions of views: all views once and in order, and the size that a clock calls the fastest."""

import numpy as np
import pytest

from engine.scoring.views_at_once import ViewsAtOnce


class Machine:
    """A clock, and an engine to which a view costs what the size of its portion says."""

    def __init__(self, seconds_of_a_view, first_call=0.0):
        self.now = 0.0
        self.costs = seconds_of_a_view
        self.first_call = first_call
        self.sizes = []

    def clock(self):
        return self.now

    def score(self, portions):
        """Score all portions; return the views as they came."""
        seen = []
        for portion in portions:
            self.now += len(portion) * self.costs(len(portion))
            if len(portion) not in self.sizes:
                self.now += self.first_call
            self.sizes.append(len(portion))
            seen.append(portion)
        return np.concatenate(seen)


def views(number, offset=0):
    return np.arange(offset, offset + number)[:, None]


def chosen(machine, batches):
    """Sizes of the portions of a batch of 100 views, after some batches; every view must have come once, in order."""
    tuned = ViewsAtOnce(0, clock=machine.clock)
    for number in [*batches, 100]:
        machine.sizes = list(machine.sizes) if number != 100 else []
        np.testing.assert_array_equal(machine.score(tuned.portions(views(number))), views(number))
    return machine.sizes


@pytest.mark.parametrize("number", [1, 4, 7, 50])
def test_a_number_is_kept(number):
    machine = Machine(lambda size: 1)
    portions = list(ViewsAtOnce(number, clock=machine.clock).portions(views(10)))
    assert [len(portion) for portion in portions] == [number] * (10 // number) + [10 % number] * (10 % number > 0)


def test_the_fastest_size_is_found_and_kept():
    machine = Machine(lambda size: {1: 1.0, 2: 0.8, 4: 0.7}.get(size, 0.9))
    assert set(chosen(machine, [30, 30, 30])[:-1]) == {4}


def test_larger_portions_that_gain_nothing_are_not_tried_further():
    machine = Machine(lambda size: {1: 1.0}.get(size, 0.98))
    assert set(chosen(machine, [30])) == {1}


def test_the_largest_one_may_be_the_best():
    machine = Machine(lambda size: 1 / size)
    assert set(chosen(machine, [40, 40, 40, 40])[:-1]) == {16}


def test_what_an_engine_does_at_its_first_call_does_not_count():
    machine = Machine(lambda size: {1: 1.0, 2: 0.5}.get(size, 0.6), first_call=100.0)
    assert set(chosen(machine, [40])) == {2}


def test_batches_of_few_views_leave_the_question_open():
    """Six windows come one by one; what comes together afterwards is measured."""
    machine = Machine(lambda size: {1: 1.0, 2: 0.8, 4: 0.7}.get(size, 0.9))
    tuned = ViewsAtOnce(0, clock=machine.clock)
    for _ in range(6):
        machine.score(tuned.portions(views(1)))
    machine.score(tuned.portions(views(3)))
    assert machine.sizes == [1] * 6 + [2, 1]
    for _ in range(3):
        machine.score(tuned.portions(views(40)))
    machine.sizes = []
    machine.score(tuned.portions(views(40)))
    assert machine.sizes == [4] * 10


def test_frames_of_different_sizes_are_compared_by_their_values():
    """Whole frames: a video twice as large comes where portions of two are tried."""
    tuned = ViewsAtOnce(0, clock=(machine := Machine(None)).clock)

    def score(portions):
        for portion in portions:
            machine.now += portion.size * (0.5 if len(portion) == 2 else 1.0)
            machine.sizes.append(len(portion))

    score(tuned.portions(np.zeros((4, 10))))
    score(tuned.portions(np.zeros((40, 20))))
    machine.sizes = []
    score(tuned.portions(np.zeros((8, 10))))
    assert machine.sizes == [2] * 4


def test_no_views():
    assert list(ViewsAtOnce(0).portions(views(0))) == []


def test_it_is_told_once(logged):
    chosen(Machine(lambda size: {1: 1.0, 2: 0.8}.get(size, 0.9)), [30, 30])
    lines = [line for line in logged().splitlines() if "batch size auto" in line]
    assert lines == ["batch size auto: 2 views at once (a view in portions of 1: 1000 ms, 2: 800 ms, 4: 900 ms)"]
