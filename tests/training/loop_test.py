import collections
import dataclasses
import threading

import numpy as np
import pytest

from tff_cnn.training import loop


@dataclasses.dataclass
class Output:
    state: int
    metrics: dict


class CountingProcess:
    """Its state is the sum of all client data so far."""

    def __init__(self, loss=1.5):
        self._loss = loss

    def next(self, state, client_data):
        metrics = {
            "client_work": {
                "train": {"loss": self._loss, "accuracy": np.float32(0.25)},
                "num_nonfinite_clients": np.int32(1),
            },
            "aggregator": collections.OrderedDict(),
        }
        return Output(state + sum(map(sum, client_data)), metrics)


class Recorder:
    def __init__(self, stop_at=None):
        self.rounds = []
        self._stop_at = stop_at

    def after_round(self, finished):
        self.rounds.append((finished.number, finished.state))
        self.row = finished.row
        assert finished.metrics["client_work"]["num_nonfinite_clients"] == 1
        finished.stop = finished.number == self._stop_at


def run(hooks, rounds=range(1, 5), process=None, releasing=()):
    return loop.run_rounds(
        process or CountingProcess(),
        0,
        rounds,
        lambda number: np.arange(number),  # Round n has n clients.
        lambda client, number: [100 * number + client],
        hooks,
        releasing,
    )


def test_each_round_gets_its_cohorts_data_and_the_state_before():
    recorder = Recorder()
    assert run([recorder]) == 100 + 401 + 903 + 1606
    assert recorder.rounds == [(1, 100), (2, 501), (3, 1404), (4, 3010)]


def test_row_holds_what_the_process_reports():
    recorder = Recorder()
    run([recorder])
    seconds = recorder.row.pop("seconds")
    assert seconds >= 0
    assert recorder.row == {
        "round": 4,
        "cohort_size": 4,
        "clients_excluded": 1,
        "train_loss": 1.5,
        "train_accuracy": 0.25,
    }


def test_a_mean_over_nobody_is_none():
    recorder = Recorder()
    run([recorder], process=CountingProcess(loss=float("nan")))
    assert recorder.row["train_loss"] is None


def test_hooks_run_in_order_and_all_of_them_see_the_last_round():
    first, second = Recorder(stop_at=2), Recorder()
    run([first, second])
    assert [n for n, _ in first.rounds] == [n for n, _ in second.rounds]
    assert len(second.rounds) == 4  # The later hook overrode the stop.
    stopper = Recorder(stop_at=2)
    run([Recorder(), stopper])
    assert [n for n, _ in stopper.rounds] == [1, 2]


def test_no_rounds_return_the_state_as_it_was():
    assert run([Recorder()], rounds=range(5, 5)) == 0


def test_a_round_that_began_before_a_hook_said_stop_never_was():
    process = CountingProcess()
    calls = []
    next_round = process.next
    process.next = lambda *args: calls.append(1) or next_round(*args)
    recorder = Recorder(stop_at=2)
    assert run([recorder], process=process) == 501
    assert [number for number, _ in recorder.rounds] == [1, 2]
    assert len(calls) == 3


def test_hooks_and_the_next_rounds_data_do_not_wait_for_training():
    # Each round waits until the hooks of the one before have run and the data
    # of the next one have been built: it would wait for ever if these came
    # after it.
    hooked, built = ([threading.Event() for _ in range(6)] for _ in "ab")
    process = CountingProcess()
    next_round = process.next
    number = iter(range(1, 5))

    def patient(state, data):
        now = next(number)
        if now > 1:
            assert hooked[now - 1].wait(30)
        if now < 4:
            assert built[now + 1].wait(30)
        return next_round(state, data)

    process.next = patient

    class Hook:
        def after_round(self, finished):
            hooked[finished.number].set()

    def client_data(client, number):
        built[number].set()
        return [1]

    assert (
        loop.run_rounds(
            process,
            0,
            range(1, 5),
            lambda n: np.arange(n),
            client_data,
            [Hook()],
        )
        == 10
    )


def test_a_round_is_released_before_anything_sees_its_result():
    seen = []
    process = CountingProcess()
    next_round = process.next

    def watched(state, data):
        seen.append(("next from", state))
        return next_round(state, data)

    process.next = watched

    class Note:
        def __init__(self, word):
            self._word = word

        def after_round(self, finished):
            seen.append((self._word, finished.state))

    run([Note("hook")], range(1, 4), process, [Note("release")])
    for state in (100, 501):
        release = seen.index(("release", state))
        assert release < seen.index(("hook", state))
        assert release < seen.index(("next from", state))


def test_a_round_that_cannot_be_released_is_never_seen():
    class Refuse:
        def after_round(self, finished):
            if finished.number == 3:
                raise OSError("no space left")

    recorder = Recorder()
    with pytest.raises(OSError, match="no space"):
        run([recorder], releasing=[Refuse()])
    assert [number for number, _ in recorder.rounds] == [1, 2]


def test_a_stop_at_the_release_begins_no_further_round():
    class Stop:
        def after_round(self, finished):
            finished.stop = finished.number == 2

    process = CountingProcess()
    calls = []
    next_round = process.next
    process.next = lambda *args: calls.append(1) or next_round(*args)

    class Keep(Recorder):
        def after_round(self, finished):
            self.rounds.append((finished.number, finished.stop))

    recorder = Keep()
    assert run([recorder], process=process, releasing=[Stop()]) == 501
    assert recorder.rounds == [(1, False), (2, True)] and len(calls) == 2


def test_an_exception_in_a_hook_ends_the_run():
    class Full:
        def after_round(self, finished):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run([Full()])
