"""What goes with an attack, and what does not."""

import pytest

from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.evaluation.attacks import ATTACKS, Backdoor, LabelFlip
from tff_cnn.privacy import LocalLaplace

NAMES = (
    "sign_flip",
    "label_flip",
    "gaussian",
    "scaled",
    "alie",
    "ipm",
    "backdoor",
    "free_rider",
)


def refused(**fields):
    with pytest.raises(UsageError) as found:
        RunConfig(**fields).resolved()
    return str(found.value)


def test_these_are_there():
    assert set(NAMES) <= set(ATTACKS.names)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_beside_noise_of_the_server_and_no_canaries(name):
    config = RunConfig(attack=name, dp="fixed_clip", sampling="poisson")
    assert config.with_options("dp", epsilon=8.0).resolved().attack
    audited = config.with_options("dp", epsilon=8.0, audit_canaries=300)
    with pytest.raises(UsageError, match="audit_canaries=300 does not go"):
        audited.resolved()


@pytest.mark.parametrize(
    "algorithm", ["hierarchical", "fedbuff", "feddf", "fedmd"]
)
def test_only_attacks_on_data_go_with_rounds_of_other_kinds(algorithm):
    config = {"algorithm": algorithm}
    if algorithm in ("feddf", "fedmd"):
        config["clients_per_round"] = 5
    assert RunConfig(attack="label_flip", **config).resolved().attack
    for name in set(NAMES) - {"label_flip"}:
        told = refused(attack=name, **config)
        assert f"attack={name} does not fit algorithm={algorithm}" in told


def test_attackers_would_leave_their_own_randomizer_out():
    randomizer = LocalLaplace(epsilon=2.0)
    told = refused(attack="alie", local_randomizer=randomizer)
    assert "local_randomizer=laplace does not go with attack=alie" in told


@pytest.mark.parametrize(
    ("pair", "part"),
    [
        ((0, None), "flip_from=0 would be ignored: it needs attack.flip_to"),
        ((None, 1), "flip_to=1 would be ignored: it needs attack.flip_from"),
        ((2, 2), "flips nothing: give two different labels"),
    ],
)
def test_a_flip_is_of_two_labels(pair, part):
    assert part in refused(attack=LabelFlip(*pair))
    assert RunConfig(attack=LabelFlip(0, 7)).resolved()


def test_a_label_of_zero_is_another_run_than_none():
    from tff_cnn import identity

    found = {
        identity.fingerprint(RunConfig(attack=LabelFlip(*pair)).resolved())
        for pair in ((0, 1), (1, 0), (None, None))
    }
    assert len(found) == 3


def test_a_model_is_replaced_where_the_server_is_linear():
    assert RunConfig(attack="backdoor").resolved()
    told = refused(attack="backdoor", server_optimizer="adam")
    assert "server_optimizer=adam makes" in told
    assert "give attack.backdoor_boost" in told
    told = refused(attack="backdoor", server_schedule="cosine")
    assert "server_schedule=cosine makes" in told
    boosted = RunConfig(
        attack=Backdoor(backdoor_boost=5.0), server_optimizer="adam"
    )
    assert boosted.resolved()


def test_rounds_are_checked_at_once():
    with pytest.raises(UsageError, match=r"attack\.backdoor_rounds=x must be"):
        RunConfig(attack=Backdoor(backdoor_rounds="x"))
