import pytest

from tff_cnn.aggregators import (
    AGGREGATORS,
    OneBit,
    Quantize,
    RandomK,
    Rotate,
    TopK,
    order,
)
from tff_cnn.algorithms import FedBuff
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import LOCAL_RANDOMIZERS, MECHANISMS

CODECS = [
    entry.name
    for entry in AGGREGATORS.entries
    if order.stage_of(entry) in order.ENCODED
]
FED_BACK = [name for name in CODECS if name != "rotate"]


def config(aggregator, **fields) -> RunConfig:
    return RunConfig(aggregator=aggregator, **fields)


def fed_back(name):
    return AGGREGATORS.find(name).options(error_feedback=True)


def test_names():
    assert CODECS == [
        "quantize",
        "one_bit",
        "top_k",
        "random_k",
        "rotate",
        "low_rank",
    ]


@pytest.mark.parametrize("name", CODECS)
def test_codes_are_not_of_noise(name):
    for entry in LOCAL_RANDOMIZERS.entries:
        with pytest.raises(
            UsageError, match="calibrated to the norm of the wh"
        ):
            config(
                name, local_randomizer=entry.options(noise_multiplier=1.0)
            ).resolved()


@pytest.mark.parametrize("name", CODECS)
def test_secure_sums_have_no_updates_to_decode(name):
    for entry in MECHANISMS.entries:
        chosen = config(name, dp=entry.options(noise_multiplier=1.0))
        if entry.name.startswith("distributed"):
            with pytest.raises(UsageError, match="integers that are summed"):
                chosen.resolved()
        else:
            chosen.resolved()


@pytest.mark.parametrize("name", CODECS)
def test_what_a_late_update_would_take_is_not_known(name):
    config(name, algorithm="fedbuff").resolved()
    with pytest.raises(
        UsageError, match=r"max_staleness=3 does not go with .*not computed"
    ):
        config(name, algorithm=FedBuff(max_staleness=3)).resolved()


@pytest.mark.parametrize("name", FED_BACK)
def test_error_feedback_is_for_clients_that_keep_states(name):
    config(fed_back(name)).resolved()
    config(fed_back(name), algorithm="ditto").resolved()
    for algorithm in ("hierarchical", "fedbuff"):
        with pytest.raises(UsageError, match="clients that keep no state"):
            config(fed_back(name), algorithm=algorithm).resolved()
    for algorithm in ("feddf", "fedmd"):
        with pytest.raises(UsageError, match=r"clients that keep no|no aggreg"):
            config(fed_back(name), algorithm=algorithm).resolved()


@pytest.mark.parametrize("name", FED_BACK)
def test_error_feedback_is_not_accounted_for(name):
    private = MECHANISMS.find("fixed_clip").options(noise_multiplier=1.0)
    with pytest.raises(UsageError, match=r"in its next one, for which nothing"):
        config(fed_back(name), dp=private).resolved()


def test_what_is_fed_back_would_not_be_bounded(monkeypatch):
    plain = order.stage_of

    def stage_of(entry):
        return order.BOUND if entry.name == "rotate" else plain(entry)

    monkeypatch.setattr(order, "stage_of", stage_of)
    config([Rotate(), OneBit()]).resolved()
    with pytest.raises(UsageError, match="added behind the bound"):
        config([Rotate(), OneBit(error_feedback=True)]).resolved()


def test_all_of_a_chain_feed_back_or_none():
    parts = [TopK(error_feedback=True), Quantize()]
    with pytest.raises(UsageError, match="of one codec and not of another"):
        config(parts).resolved()
    config([Rotate(), OneBit(error_feedback=True)]).resolved()


@pytest.mark.parametrize(
    "codec", [OneBit(one_bit_scale="drive"), Quantize(quantize_levels="eden")]
)
def test_what_is_for_normal_numbers_stands_behind_a_rotation(codec):
    config([RandomK(), Rotate(), codec]).resolved()
    for before in ([], [TopK()], [Rotate(), TopK()]):
        with pytest.raises(UsageError, match="put rotate before it"):
            config([*before, codec]).resolved()


def test_eden_has_levels_of_eight_bits_at_most():
    def of(width):
        codec = Quantize(quantize_levels="eden", quantize_bits=width)
        return config([Rotate(), codec])

    of(8).resolved()
    with pytest.raises(UsageError, match="quantize_bits=9 is more than"):
        of(9).resolved()


def test_eden_has_no_rounding_to_choose():
    codec = Quantize(quantize_levels="eden", quantize_rounding="nearest")
    with pytest.raises(UsageError, match="would be ignored"):
        config([Rotate(), codec]).resolved()


@pytest.mark.parametrize("name", CODECS)
def test_edges_do_not_measure_codes(name):
    with pytest.raises(UsageError, match="what clients send to an edge"):
        config(name, algorithm="hierarchical").resolved()
