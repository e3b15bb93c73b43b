import dataclasses
import json

import dp_accounting
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import accounting, calibration, descriptions
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.local import ExampleDpSgd, deciding_sizes
from tff_cnn.privacy.participation import Participation

ONE_HOLDER = ExampleDpSgd(
    1.0, 1.3, 256, 1, (60_000,), Participation("full", 1.0)
)


def epsilons(noise_multiplier, rounds):
    """By PLD and RDP, of one holder of 60,000 examples in lots of 256."""
    mechanism = dataclasses.replace(
        ONE_HOLDER, noise_multiplier=noise_multiplier
    )
    statement = Ledger(mechanism, 1e-5, rounds).statement()
    return statement["epsilon_pld"], statement["epsilon_rdp"]


@pytest.mark.parametrize(
    ("noise_multiplier", "epochs", "pld", "rdp"),
    [(1.3, 15, 0.87, 0.95), (1.1, 60, 2.39, 2.60), (0.7, 45, 5.64, 6.32)],
)
def test_published_epsilons(noise_multiplier, epochs, pld, rdp):
    """TensorFlow Privacy's and Opacus' table of DP-SGD on MNIST.

    Their epochs have 60,000 / 256 steps, ours ceil(60,000 / 256).
    """
    found = epsilons(noise_multiplier, epochs)
    assert found[0] == pytest.approx(pld, abs=0.02)
    assert found[1] == pytest.approx(rdp, abs=0.11)


def test_the_event_is_of_all_local_steps_of_all_rounds():
    mechanism = dataclasses.replace(ONE_HOLDER, epochs=3, expected_lot=600)
    (event,) = mechanism.events_after(5)
    assert event == dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(
            0.01, dp_accounting.GaussianDpEvent(1.3)
        ),
        5 * 3 * 100,
    )


def test_a_lot_of_all_examples_is_not_amplified():
    (event,) = dataclasses.replace(
        ONE_HOLDER, client_sizes=(100,)
    ).events_after(4)
    assert event == dp_accounting.SelfComposedDpEvent(
        dp_accounting.GaussianDpEvent(1.3), 4
    )


def test_epsilon_is_that_of_the_worst_client_and_not_of_all_together():
    both = dataclasses.replace(ONE_HOLDER, client_sizes=(2_000, 60_000))
    alone = [
        Ledger(dataclasses.replace(both, client_sizes=(n,)), 1e-5, 2).epsilon()
        for n in both.client_sizes
    ]
    assert Ledger(both, 1e-5, 2).epsilon() == max(alone) > min(alone)


def test_sizes_that_decide():
    # Lots of ten: one step of 7 or 10, two of 11 to 20, ten of 95.
    sizes = [10, 7, 20, 11, 0, 15, 95]
    assert deciding_sizes(sizes, 10) == (7, 11, 95)


def test_no_size_left_out_would_be_worse():
    def epsilon(size):
        mechanism = dataclasses.replace(
            ONE_HOLDER, expected_lot=10, client_sizes=(size,)
        )
        return Ledger(mechanism, 1e-3, 3).epsilon()

    worst = max(map(epsilon, deciding_sizes(range(21, 31), 10)))
    assert worst == max(map(epsilon, range(21, 31))) == epsilon(21)


def test_shuffled_epochs_bound_how_often_a_client_takes_part():
    shuffled = dataclasses.replace(
        ONE_HOLDER,
        participation=Participation("shuffled_epochs", 0.1, 100, 10, 10),
    )
    (event,) = shuffled.events_after(11)
    assert event.count == 2 * 235


# Of the first two the smaller decides, of the others the larger.
@pytest.mark.parametrize("sizes", [(300, 2_000), (256, 300)])
def test_calibration_finds_the_noise_of_the_worst_client(sizes):
    def make(noise):
        return dataclasses.replace(
            ONE_HOLDER, noise_multiplier=noise, client_sizes=sizes
        )

    noise = calibration.noise_multiplier(make, 1.5, 1e-4, 1)
    assert Ledger(make(noise), 1e-4, 1).epsilon() == pytest.approx(1.5, 1e-3)
    assert Ledger(make(noise - 1e-3), 1e-4, 1).epsilon() > 1.5


def test_its_description_survives_json():
    found = json.loads(json.dumps(descriptions.describe(ONE_HOLDER)))
    assert found == descriptions.describe(ONE_HOLDER)
    assert found["name"] == "ExampleDpSgd"
    assert descriptions.read(ExampleDpSgd, found) == ONE_HOLDER


def test_the_statement_names_unit_adversary_and_neighbours():
    statement = Ledger(ONE_HOLDER, 1e-5, 1).statement()
    assert statement["unit"] == "example"
    assert statement["stage"] == "local training"
    assert "the server included" in statement["adversary"]
    assert "add or remove one example" in statement["neighbouring_relation"]
    assert "expected 256 examples" in statement["sampling"]
    assert statement["epsilon"] == accounting.epsilon(
        ONE_HOLDER.events_after(1)[0], 1e-5
    )


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"clip_norm": 0.0}, "example_dp.clip_norm=0"),
        ({"noise_multiplier": -1.0}, "example_dp.noise_multiplier=-1"),
        ({"client_sizes": ()}, "no client has any example"),
    ],
)
def test_refuses_what_has_no_guarantee(change, flag):
    with pytest.raises(UsageError, match=flag):
        dataclasses.replace(ONE_HOLDER, **change)
