import numpy as np
import pytest

from tff_cnn.aggregators.masking import execution
from tff_cnn.aggregators.masking.execution import Masking, Report
from tff_cnn.aggregators.masking.messages import Phase
from tff_cnn.core import secure_sums


def run(masking, vectors, modulus=2**20, number=1, seed=5):
    """Totals and report of a round with one sum."""
    with execution.of_round(masking, seed, number) as report:
        total = secure_sums.begun([modulus], len(vectors))
        for client, vector in enumerate(vectors):
            total.add(client, [vector])
        return total.finish()[0], report


VECTORS = [np.int32([[u, -u], [100, u * u]]) for u in range(20)]


def test_the_sum_is_modulo_r_and_of_its_type_and_shape():
    found, report = run(Masking(2 / 3), VECTORS)
    assert found.dtype == np.int32
    assert found.tolist() == [[190, 2**20 - 190], [2000, 2470]]
    assert (report.num_sums, report.dropped, report.aborted) == (1, 0, 0)
    # 19 pairs of shares of 98 bytes, four numbers of 3, 20 shares of 37.
    assert report.bytes_up == 20 * (64 + 19 * 98 + 4 * 3 + 4 + 20 * 37)
    assert report.bytes_down == 20 * (19 * (68 + 98) + 20 * 4)


def test_who_drops_out_follows_from_seed_and_round_and_is_recorded():
    masking = Masking(0.501, dropout=0.1)
    first, again = (run(masking, VECTORS)[1] for _ in range(2))
    assert first == again
    assert first.aborted == 0
    assert first.dropped > first.recovered > 0
    others = [run(masking, VECTORS, number=n)[1].dropped for n in range(2, 6)]
    assert len({first.dropped, *others}) > 1
    total, _ = run(masking, [np.ones(1, np.int64)] * 20)
    assert total.tolist() == [20 - first.dropped]


def test_too_few_are_zeros():
    found, report = run(Masking(1.0, dropout=0.3), VECTORS)
    assert not found.any()
    assert found.shape == (2, 2)
    assert (report.aborted, report.dropped, report.recovered) == (1, 20, 0)


def test_each_phase_loses_its_part():
    rng = np.random.default_rng(0)
    dropped = Masking(2 / 3, dropout=0.2).dropped(20_000, rng)
    for phase in Phase:
        share = sum(p == phase for p in dropped.values()) / 20_000
        # Four standard deviations.
        assert share == pytest.approx(0.2 * 0.8**phase, abs=0.012)
    assert Masking(2 / 3).dropped(100, rng) == {}


def test_neighbours_send_less():
    few = run(Masking(0.6, neighbours=4), VECTORS)
    every = run(Masking(0.6), VECTORS)
    assert few[0].tolist() == every[0].tolist()
    assert few[1].bytes_up < every[1].bytes_up / 3


def test_several_arrays_are_one_vector():
    with execution.of_round(Masking(2 / 3), 1, 1) as report:
        total = secure_sums.begun([50, 50], 2)
        for u in range(2):
            total.add(u, [np.int64([u, 30]), np.int32(7)])
        first, second = total.finish()
    assert (first.tolist(), second.tolist()) == ([1, 10], 14)
    assert second.shape == ()
    assert report.num_sums == 1
    assert Report() == Report(0)


def test_several_moduli_are_refused():
    with (
        execution.of_round(Masking(2 / 3), 1, 1),
        pytest.raises(NotImplementedError, match=r"\[5, 7\]"),
    ):
        secure_sums.begun([7, 5], 2)
