import numpy as np
import pytest

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import STAGES
from tff_cnn.selection.dropout import remaining


def test_clients_drop_out_independently_at_the_rate():
    cohort = np.arange(50)
    left = np.zeros((400, 50), bool)
    for round_num in range(1, 401):
        left[round_num - 1, remaining(0.3, 0, round_num, cohort)] = True
    slack = 5 * np.sqrt(0.3 * 0.7 / 400)
    np.testing.assert_allclose(left.mean(0), 0.7, atol=slack)
    # Binomial(50, 0.7) in each round.
    assert left.sum(1).mean() == pytest.approx(35, abs=0.9)
    assert left.sum(1).var() == pytest.approx(10.5, rel=0.35)


def test_who_drops_out_does_not_depend_on_who_else_was_drawn():
    alone = [c for c in range(40) if len(remaining(0.5, 3, 2, [c]))]
    assert remaining(0.5, 3, 2, range(40)).tolist() == alone
    assert remaining(0.5, 3, 2, [39, 7, *alone[:2]]).tolist() == [
        c for c in (39, 7, *alone[:2]) if c in alone
    ]
    assert remaining(0.5, 4, 2, range(40)).tolist() != alone
    assert remaining(0.5, 3, 1, range(40)).tolist() != alone


def test_limits():
    assert remaining(0.0, 0, 1, [3, 5]).tolist() == [3, 5]
    found = remaining(0.9, 0, 1, [])
    assert found.tolist() == [] and found.dtype == np.int64
    with pytest.raises(UsageError, match=r"dropout_rate=1.0 must be in \[0, 1"):
        RunConfig(dropout_rate=1.0)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.choice)
def test_it_is_refused_where_there_is_noise(stage):
    noise = stage.registry.entries[0].options(noise_multiplier=1.0)
    with pytest.raises(UsageError) as error:
        RunConfig(dropout_rate=0.1, **{stage.choice: noise}).resolved()
    assert str(error.value) == (
        f"{stage.choice}={stage.registry.entries[0].name} does not go with "
        "dropout_rate=0.1: the accountant has no rule for cohorts that clients "
        "drop out of; use dropout_rate=0, or none of the former."
    )
