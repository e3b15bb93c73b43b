import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.attacks.eager import flat, sent, updates
from tests.reference import attacks as reference
from tff_cnn.evaluation.attacks.ipm import InnerProduct, build_ipm


def test_attackers_send_the_honest_mean_turned_round():
    honest = updates(3)
    found = sent(build_ipm(0.5).update, honest, updates(2, 1))
    np.testing.assert_allclose(
        flat(found), reference.ipm(flat(honest), 0.5), atol=1e-6
    )


def test_where_nobody_is_honest_they_send_nothing():
    found = sent(InnerProduct(2.0), [], updates(2))
    np.testing.assert_array_equal(flat(found), 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(1, 5), st.floats(0.01, 20))
def test_the_mean_turns_round_as_said(num_honest, num_attackers, epsilon):
    honest = updates(num_honest)
    bad = flat(sent(InnerProduct(epsilon), honest, updates(num_attackers, 1)))
    total = flat(honest).sum(0) + num_attackers * bad
    factor = (num_honest - epsilon * num_attackers) / num_honest
    expected = factor * flat(honest).sum(0)
    np.testing.assert_allclose(total, expected, atol=1e-4)
