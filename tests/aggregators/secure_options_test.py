import numpy as np
import pytest

from tff_cnn.aggregators import SecureSum, secure_options
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError


def config(**options):
    given = {
        name: options.pop(name) for name in list(options) if "secure" in name
    }
    return RunConfig(aggregator=SecureSum(**given), **options)


def test_the_defaults_go_together():
    resolved = config().resolved()
    assert resolved.aggregator.secure_protocol == "none"
    assert RunConfig(aggregator="secure_sum").resolved() == resolved
    masked = config(
        secure_protocol="masking",
        secure_threshold=0.6,
        secure_dropout=0.05,
        secure_neighbours=20,
    )
    masked.resolved()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secure_dropout": 0.1}, "would be ignored: it needs"),
        ({"secure_threshold": 0.9}, "would be ignored: it needs"),
        ({"secure_neighbours": 4}, "would be ignored: it needs"),
        ({"secure_max_clients": 9}, "the sum might overflow"),
        ({"secure_bits": 32, "secure_max_weight": 2**30}, "takes 72 bits"),
        ({"runtime": "native"}, "use runtime=in_process"),
        (
            {
                "secure_protocol": "masking",
                "secure_dropout": 0.1,
                "algorithm": "scaffold",
            },
            "does not go with algorithm=scaffold",
        ),
        (
            {
                "secure_protocol": "masking",
                "secure_dropout": 0.1,
                "algorithm": "hierarchical",
            },
            "does not go with algorithm=hierarchical",
        ),
        (
            {
                "secure_protocol": "masking",
                "secure_dropout": 0.1,
                "server_schedule": "cosine",
            },
            "does not go with server_schedule=cosine",
        ),
        (
            {
                "secure_protocol": "masking",
                "secure_dropout": 0.1,
                "dp": "distributed_skellam",
            },
            "no rule for cohorts that clients drop out of",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        config(**given).resolved()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secure_threshold": 0.5}, "above 0.5 and at most 1"),
        ({"secure_threshold": 1.1}, "above 0.5 and at most 1"),
        ({"secure_neighbours": 5}, "must be even"),
        ({"secure_bound": 0.0}, "positive"),
        ({"secure_bits": 1}, "at least 2"),
        ({"secure_protocol": "mask"}, "masking"),
    ],
)
def test_values_have_limits(given, said):
    with pytest.raises(UsageError, match=said):
        config(**given)


def test_a_sum_fits_into_its_bits():
    rng = np.random.default_rng(0)
    for levels, weight, clients in rng.integers(1, 10**5, [50, 3]).tolist():
        largest = levels * weight * clients
        modulus = 2 ** secure_options.ring_bits(levels, weight, clients)
        assert 2 * largest < modulus <= 4 * largest
