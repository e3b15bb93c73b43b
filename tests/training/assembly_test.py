"""What the parts of a run have to do with its secrets; no process is built."""

import numpy as np
import pytest

from tff_cnn.aggregators import SecureSum
from tff_cnn.algorithms import FedProx
from tff_cnn.config import RunConfig
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.privacy import (
    DistributedSkellam,
    DpSgd,
    FixedClip,
    LocalGaussian,
    Tree,
)
from tff_cnn.selection import (
    EqualSpeed,
    ParetoSpeed,
    PowerOfChoice,
    dropout,
    samplers,
)
from tff_cnn.training import assembly
from tff_cnn.training.engine import Work
from tff_cnn.training.run_secret import RunSecret

NOISE = {"noise_multiplier": 4.0}


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(assembly, "_build_process", lambda *parts: parts)

    def build(**changes):
        changes = {"num_clients": 30, "seed": 5, **changes}
        return assembly.build(RunConfig(**changes).resolved())

    return build


@pytest.mark.parametrize(
    ("changes", "is_amplified", "is_repeatable"),
    [
        ({}, False, True),
        ({"dp": FixedClip(**NOISE)}, True, True),
        ({"dp": FixedClip(**NOISE), "sampling": "fixed_size"}, True, True),
        ({"dp": FixedClip(**NOISE), "sampling": "full"}, False, True),
        ({"dp": Tree(**NOISE)}, False, True),
        ({"dp": DistributedSkellam(**NOISE)}, False, False),
        ({"local_randomizer": LocalGaussian(**NOISE)}, False, False),
        (
            {
                "local_randomizer": LocalGaussian(**NOISE),
                "test_only_deterministic_noise": True,
            },
            False,
            True,
        ),
        ({"example_dp": DpSgd(**NOISE)}, False, True),
    ],
)
def test_cohorts_are_secret_where_epsilon_assumes_it(
    build, changes, is_amplified, is_repeatable
):
    run = build(**changes)
    assert run.is_amplified is is_amplified
    assert (run.cohort_seed != 5) is is_amplified
    assert run.is_repeatable is is_repeatable
    assert (run.local_seed != 5) is ("example_dp" in changes)
    assert run.batching.poisson is ("example_dp" in changes)


def test_what_was_found_stands_in_the_configuration(build):
    run = build(dp=FixedClip(epsilon=3.0), example_dp=DpSgd(**NOISE))
    central, local = run.ledger.stages
    assert run.config.dp.noise_multiplier == central.mechanism.noise_multiplier
    assert run.config.dp.delta == 30**-1.1
    assert run.config.example_dp.delta == local.delta == 1437**-1.1
    assert run.central is central


def test_canaries_join_the_clients(build):
    run = build(dp=FixedClip(**NOISE, audit_canaries=12))
    assert len(run.task.clients) == 30 + 12
    assert run.task.canaries.clip_norm == 0.3
    assert run.sampler.num_clients == 30


def test_validation_clients_take_part_in_nothing(build):
    run = build(dp=FixedClip(**NOISE), evaluate_on="validation")
    assert run.sampler.num_clients == 24
    assert run.config.dp.delta == 24**-1.1


def test_a_known_secret_is_of_deterministic_noise_alone():
    quiet = RunConfig(
        dp=FixedClip(**NOISE), test_only_deterministic_noise=True, seed=3
    )
    first, second = (assembly.new_secret(quiet) for _ in range(2))
    np.testing.assert_array_equal(first.noise_seed(1), second.noise_seed(1))
    assert first.is_known
    drawn = assembly.new_secret(RunConfig(dp=FixedClip(**NOISE)))
    assert not drawn.is_known and isinstance(drawn, RunSecret)


def test_rounds_that_no_memory_holds_are_refused(build):
    with pytest.raises(UsageError, match="client_epochs=1000000000"):
        build(client_epochs=10**9)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dp": FixedClip(**NOISE)},
        {"example_dp": DpSgd(**NOISE)},
        {"local_randomizer": LocalGaussian(**NOISE)},
    ],
)
def test_an_algorithm_gets_the_parts_that_the_configuration_says(
    monkeypatch, changes
):
    monkeypatch.setattr(assembly.ALGORITHMS, "build", lambda _, parts: parts)
    aggregators = []

    def build_aggregator(*given, **more):
        aggregators.append(given)
        return "aggregator"

    monkeypatch.setattr(assembly, "build_aggregator", build_aggregator)
    run = assembly.build(RunConfig(num_clients=30, **changes).resolved())
    parts = run.process
    assert (parts.gradients is not None) is ("example_dp" in changes)
    assert parts.aggregator == "aggregator"
    assert parts.weighting.value == ("uniform" if changes else "examples")
    ((chosen, central, seed, randomizer),) = aggregators
    assert chosen == run.config.aggregator
    assert (central is not None) is ("dp" in changes)
    assert (randomizer is not None) is ("local_randomizer" in changes)
    assert (seed is not None) is bool(changes)


def test_clients_drop_out_of_the_drawn_cohort(build):
    drawn = build(clients_per_round=20)
    run = build(clients_per_round=20, dropout_rate=0.4)
    for number in (1, 2, 3):
        all_of_them = drawn.sample_cohort(number)
        found = run.sample_cohort(number)
        np.testing.assert_array_equal(
            found, dropout.remaining(0.4, 5, number, all_of_them)
        )
        assert 0 < len(found) < len(all_of_them) == 20


def test_a_sampler_gets_what_it_asks_for(build):
    run = build(sampling="by_size", partition="quantity", clients_per_round=2)
    sizes = [run.task.clients.num_examples(c) for c in range(30)]
    assert run.sampler.client_sizes == sizes and len({*sizes}) > 5
    assert run.narrow is None


def test_candidates_need_an_engine_that_asks_them(build, monkeypatch):
    run = build(sampling="power_of_choice", clients_per_round=4)
    assert len(run.sample_cohort(1)) == 8
    monkeypatch.setattr(
        assembly.engines, "of", lambda entry: lambda run, scratch: object()
    )
    with pytest.raises(
        UsageError, match="sampling=power_of_choice asks .* algorithm=fedavg"
    ):
        run.engine()


def test_a_round_s_candidates_have_to_fit_into_memory(build, monkeypatch):
    found = []
    monkeypatch.setattr(
        "tff_cnn.tasks.Task.check_memory",
        lambda task, batching, count: found.append(count),
    )
    build(
        sampling=PowerOfChoice(candidates=25),
        clients_per_round=4,
    )
    assert found == [25.0]


def test_candidates_whose_loss_is_largest_take_part(build):
    run = build(
        sampling=PowerOfChoice(candidates=12),
        clients_per_round=4,
        dropout_rate=0.2,
    )
    model, clients = run.task.model, run.task.clients
    cohort = run.sample_cohort(1)
    work = Work(1, cohort, [f"data of {client}" for client in cohort])
    found = run.narrow([w.numpy() for w in model.trainable_weights], work)
    losses = {}
    for client in cohort:
        examples = clients[int(client)]
        logits = model(examples.images / np.float32(16), training=False).numpy()
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        own = logits[np.arange(len(examples)), examples.labels]
        losses[client] = -own.mean()
    largest = sorted(sorted(losses, key=losses.get)[-4:])
    assert 4 < len(cohort) < 12 and found.cohort.tolist() == largest
    assert found.data == [f"data of {client}" for client in largest]


# Of 1,437 examples 30 clients have 47 or 48, and go over them twice.
CLOCK = {
    "client_speed": ParetoSpeed(network_seconds=1.0),
    "client_epochs": 2,
    "clients_per_round": 10,
}


def seconds(run, number, clients):
    return sorted(run.client_seconds(client, number) for client in clients)


def test_a_clock_counts_the_examples_of_all_epochs(build):
    run = build(
        client_speed=EqualSpeed(seconds_per_example=0.5, network_seconds=3.0),
        client_epochs=2,
    )
    sizes = map(run.task.clients.num_examples, range(30))
    assert [run.client_seconds(c, 1) for c in range(30)] == [
        3.0 + 2 * 0.5 * size for size in sizes
    ]
    assert build().speed is None


def test_a_clock_counts_what_stragglers_do(build):
    run = build(
        client_speed=EqualSpeed(seconds_per_example=1.0, network_seconds=0.0),
        algorithm=FedProx(straggler_fraction=1.0),
        batch_size=4,
    )
    seconds = [run.client_seconds(c, 1) for c in range(30)]
    assert seconds == [run.count_examples([c], 1) for c in range(30)]
    sizes = map(run.task.clients.num_examples, range(30))
    assert 0 < sum(seconds) < 0.8 * sum(sizes)


def test_without_a_deadline_the_slowest_is_waited_for(build):
    run = build(**CLOCK)
    for number in (1, 2, 3):
        cohort = run.sample_cohort(number)
        np.testing.assert_array_equal(cohort, build().sample_cohort(number))
        expected = seconds(run, number, cohort)[-1]
        assert run.simulated_seconds(number) == expected


def test_of_more_clients_the_first_are_taken(build):
    run = build(**CLOCK, over_selection=1.5)
    for number in (1, 2, 3):
        asked = run.select_clients(number)
        times = seconds(run, number, asked)
        cohort = run.sample_cohort(number)
        assert len(asked) == 15 and len(cohort) == 10
        assert {*cohort} < {*asked}
        assert seconds(run, number, cohort) == times[:10]
        assert run.simulated_seconds(number) == times[9] < times[-1]


def test_who_comes_late_is_left_out(build):
    run = build(**CLOCK, deadline=2.0)
    sizes = []
    for number in range(1, 6):
        times = seconds(run, number, run.select_clients(number))
        cohort = run.sample_cohort(number)
        sizes.append(len(cohort))
        assert seconds(run, number, cohort) == [t for t in times if t <= 2.0]
        assert run.simulated_seconds(number) == min(2.0, times[-1])
    assert 0 < min(sizes) < 10
    # No model comes back within the time of the network.
    assert len(build(**CLOCK, deadline=1.0).sample_cohort(1)) == 0


def test_all_clients_with_over_selection_are_too_many(build):
    clock = {**CLOCK, "clients_per_round": 25}
    assert build(**clock, over_selection=1.2).sampler.clients_per_round == 30
    with pytest.raises(UsageError, match=r"over_selection=1.3 .* is 33, and"):
        build(**clock, over_selection=1.3)
    # And no rounding asks for one more.
    assert build(**CLOCK, over_selection=1.1).sampler.clients_per_round == 11
    run = build(**CLOCK, sampling="full", over_selection=1.0)
    assert len(run.sample_cohort(1)) == 30
    with pytest.raises(UsageError, match=r"over_selection=1.1 .* is 33, and"):
        build(**CLOCK, sampling="full", over_selection=1.1)


def test_canaries_take_no_time(build):
    noise = FixedClip(**NOISE, audit_canaries=12)
    run = build(**CLOCK, dp=noise)
    number = next(n for n in range(1, 9) if max(run.sample_cohort(n)) >= 30)
    real = [c for c in run.sample_cohort(number) if c < 30]
    assert run.simulated_seconds(number) == seconds(run, number, real)[-1]


PROTOCOLS = pytest.mark.parametrize("protocol", ["none", "masking"])


@PROTOCOLS
def test_a_cohort_that_no_secure_sum_holds_is_refused_first(build, protocol):
    """Of 30, each there with probability 1/3, more than 28: 61 / 3^30."""
    options = {"secure_protocol": protocol, "secure_max_clients": 27}
    given = {"clients_per_round": 10, "rounds": 1}
    with pytest.raises(
        UsageError,
        match=r"sampling=poisson may draw 28 clients for a round, more than "
        r"aggregator.secure_max_clients=27.*raise the latter",
    ):
        build(aggregator=SecureSum(**options), sampling="poisson", **given)
    # The same number is enough where cohorts have the size that was given, or
    # of all that come no more are waited for.
    build(aggregator=SecureSum(**options), **given)
    build(
        aggregator=SecureSum(**options),
        sampling="poisson",
        client_speed=EqualSpeed(),
        over_selection=1.5,
        **given,
    )
    options["secure_max_clients"] = 28
    build(aggregator=SecureSum(**options), sampling="poisson", **given)


def test_canaries_are_in_the_secure_sum_too(build):
    options = {"sampling": "fixed_size", "clients_per_round": 30}
    audited = FixedClip(**NOISE, audit_canaries=40)
    with pytest.raises(UsageError, match="may draw 70 clients"):
        build(
            dp=audited, aggregator=SecureSum(secure_max_clients=69), **options
        )
    build(dp=audited, aggregator=SecureSum(secure_max_clients=70), **options)


@PROTOCOLS
def test_a_cohort_that_nobody_expected_ends_the_run(build, protocol):
    options = {"secure_protocol": protocol, "secure_max_clients": 10}
    run = build(aggregator=SecureSum(**options), clients_per_round=10)
    run.sampler = samplers.FixedSizeSampler(30, 11)
    with pytest.raises(
        FailedRunError,
        match="round 4 has 11 clients, and aggregator.secure_max_clients=10 .*"
        "begin another run with more",
    ):
        run.sample_cohort(4)
