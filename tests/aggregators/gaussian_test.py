import numpy as np
import pytest
import tensorflow as tf

from tff_cnn.aggregators import gaussian

SEED = np.array([2**62 + 5, -(2**61) + 3])


def adaptive(clip=2.0, learning_rate=0.2, count_stddev=1e-6):
    return gaussian.AdaptiveClipSumQuery(
        SEED,
        initial_l2_norm_clip=clip,
        noise_multiplier=1.5,
        target_unclipped_quantile=0.5,
        learning_rate=learning_rate,
        clipped_count_stddev=count_stddev,
        expected_num_records=4.0,
    )


@pytest.mark.parametrize(
    ("entry", "is_below"),
    [
        (1.99, True),
        (2.01, False),
        (3e19, False),
        (3.4e38, False),
        (np.inf, False),
        (np.nan, False),
    ],
)
def test_what_is_too_long_for_a_number_counts_as_above_the_clip(
    entry, is_below
):
    query = adaptive()
    params = query.derive_sample_params(query.initial_global_state())
    record = query.preprocess_record(params, [tf.constant([entry, 0.0])])
    assert record.quantile_estimator_state == (0.5 if is_below else -0.5)
    assert np.linalg.norm(record.sum_state[0]) <= 2.0 * (1 + 1e-6)


def rounds(query, below, number):
    """States after rounds in which `below` of four records are below."""
    state = query.initial_global_state()
    sample = query.initial_sample_state([tf.zeros(3)])
    sample = sample._replace(
        quantile_estimator_state=tf.constant(below - 2.0)  # 1/2 each.
    )
    for _ in range(number):
        _, state, _ = query.get_noised_result(sample, state)
        yield tf.nest.map_structure(lambda leaf: leaf.numpy(), state)


def test_worked_example_of_the_clip():
    for below, exponent in ((4, -0.1), (2, 0.0), (0, 0.1)):
        (state,) = rounds(adaptive(), below, 1)
        clip = 2.0 * np.exp(exponent)
        assert state.sum_state.l2_norm_clip == pytest.approx(clip, rel=1e-4)
        assert state.sum_state.stddev == pytest.approx(1.5 * clip, rel=1e-4)
        assert state.quantile_estimator_state.current_estimate == (
            state.sum_state.l2_norm_clip
        )


@pytest.mark.parametrize(("below", "limit"), [(4, 1e-20), (0, 1e20)])
def test_the_clip_stays_a_number_whatever_clients_do(below, limit):
    # 30 / 2 = 15 powers of e a round: float32 would be left in round six.
    *_, state = rounds(adaptive(learning_rate=30.0), below, 8)
    assert state.sum_state.l2_norm_clip == pytest.approx(limit)
    assert state.sum_state.stddev == pytest.approx(1.5 * limit)
    assert state.quantile_estimator_state.current_estimate == (
        pytest.approx(limit)
    )


def test_sum_and_count_have_noise_of_their_own():
    query = adaptive(clip=1.0, learning_rate=1e-3, count_stddev=1.0)
    sums, counts = [], []
    state = query.initial_global_state()
    sample = query.initial_sample_state([tf.zeros([])])
    for _ in range(300):
        (total,), new, _ = query.get_noised_result(sample, state)
        sums.append(total / state.sum_state.stddev)
        counts.append(
            np.log(new.sum_state.l2_norm_clip / state.sum_state.l2_norm_clip)
        )
        state = new
    assert np.std(sums) == pytest.approx(1.0, rel=0.2)
    assert abs(np.corrcoef(sums, counts)[0, 1]) < 0.3  # 5 deviations.
