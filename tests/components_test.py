"""Which parts of a run go together, with components that say so."""

import dataclasses

import pytest

from tff_cnn import components, identity
from tff_cnn.config import RunConfig
from tff_cnn.core import traits
from tff_cnn.core.errors import UsageError
from tff_cnn.core.options import Option, fields_of, option
from tff_cnn.core.registry import Registry

FIELDS = {field.name: field for field in fields_of(RunConfig)}


@dataclasses.dataclass(frozen=True)
class Thing:
    """A thing."""

    size: float | None = option(1.0, "Size.")


def with_entry(monkeypatch, choice: str, **known) -> None:
    """Makes `Thing` a component of this choice."""
    old = FIELDS[choice].known.registry
    registry = Registry(old.kind)
    registry._entries = dict(old._entries)
    registry._by_options = dict(old._by_options)
    registry.entry("thing", "builtins:dict", **known)(Thing)
    replaced = dataclasses.replace(FIELDS[choice].known, registry=registry)
    metadata = {"known": replaced}
    field = RunConfig.__dataclass_fields__[choice]
    monkeypatch.setattr(field, "metadata", metadata)


def refusal(**changes) -> str | None:
    try:
        RunConfig(**changes).resolved()
    except UsageError as error:
        return str(error)
    return None


def test_an_option_may_be_told_of_all_the_others(monkeypatch):
    def fits(config):
        if config.rounds > 3:
            raise UsageError("<thing.size> fits three rounds.")

    with_field = dataclasses.replace(FIELDS["data_cache_mb"].known, fits=fits)
    metadata = {"known": with_field}
    field = RunConfig.__dataclass_fields__["data_cache_mb"]
    monkeypatch.setattr(field, "metadata", metadata)
    assert refusal(rounds=3, data_cache_mb=7) is None
    assert refusal(rounds=4, data_cache_mb=0) is None  # As if not there.
    assert refusal(rounds=4, data_cache_mb=7) == "thing.size fits three rounds."


def test_what_needs_a_trait_is_refused_without_it(monkeypatch):
    needs = {traits.FIXED_COHORT: "it counts them"}
    with_entry(monkeypatch, "algorithm", needs=needs)
    assert refusal(algorithm=Thing(), sampling="fixed_size") is None
    assert refusal(algorithm="thing", sampling="poisson") == (
        "sampling=poisson does not fit algorithm=thing: it counts them; use "
        "sampling=fixed_size or full."
    )


def test_what_offers_no_trait_is_refused_by_what_needs_it(monkeypatch):
    with_entry(monkeypatch, "aggregator")
    noise = {"noise_multiplier": 1.0}
    dp = FIELDS["dp"].known.registry.entries[0].options(**noise)
    assert refusal(aggregator=Thing()) is None
    assert "aggregator=thing does not fit dp=fixed_clip: what one client" in (
        refusal(aggregator=Thing(), dp=dp)
    )


def test_a_setting_may_decide_a_trait(monkeypatch):
    needs = {traits.UNIFORM_WEIGHTS: "it is a vote"}
    with_entry(monkeypatch, "aggregator", needs=needs)
    assert RunConfig(aggregator=Thing()).resolved().client_weighting == (
        "uniform"
    )
    assert refusal(aggregator=Thing(), client_weighting="examples") == (
        "client_weighting=examples does not fit aggregator=thing: it is a "
        "vote; use client_weighting=uniform."
    )


def test_a_component_refuses_fields_by_their_path(monkeypatch):
    refuses = {"target_accuracy": "it never ends", "dp": "it leaks"}
    with_entry(monkeypatch, "algorithm", refuses=refuses)
    assert refusal(algorithm=Thing()) is None
    assert refusal(algorithm=Thing(), target_accuracy=0.5) == (
        "target_accuracy=0.5 does not go with algorithm=thing: it never ends; "
        "use another algorithm, or none of the former."
    )


def test_a_component_checks_the_whole_itself(monkeypatch):
    def check(self, config):
        if config.rounds > 5:
            raise UsageError(f"<rounds>={config.rounds} is too long.")

    monkeypatch.setattr(Thing, "check", check, raising=False)
    with_entry(monkeypatch, "algorithm")
    assert refusal(algorithm=Thing(), rounds=5) is None
    assert refusal(algorithm=Thing(), rounds=6) == "rounds=6 is too long."


def test_a_choice_may_decide_another_field(monkeypatch):
    decides = {"clients_per_round": "num_clients"}
    with_entry(monkeypatch, "sampling", decides=decides)
    config = RunConfig(sampling=Thing(), num_clients=33).resolved()
    assert config.clients_per_round == 33


def test_an_option_may_decide_another_field(monkeypatch):
    decides = {"client_holdout": "algorithm.size"}
    with_entry(monkeypatch, "algorithm", decides=decides)
    for given, holdout in ((0.5, 0.0), (0.5, 0.5), (None, 0.25)):
        config = RunConfig(algorithm=Thing(size=given), client_holdout=holdout)
        assert config.resolved().client_holdout == (given or 0.25)
    assert refusal(algorithm=Thing(size=0.5), client_holdout=0.25) == (
        "client_holdout=0.25 would be ignored: algorithm.size=0.5 takes its "
        "place; remove one of the two."
    )


def test_an_algorithm_may_need_a_clock(monkeypatch):
    with_entry(monkeypatch, "algorithm", client_speed="pareto")
    config = RunConfig(algorithm=Thing()).resolved()
    assert config.get(config.leaves()["client_speed"]) == "pareto"
    own = RunConfig(algorithm=Thing(), client_speed="equal").resolved()
    assert own.get(own.leaves()["client_speed"]) == "equal"


def test_what_nothing_mends_is_refused_first(monkeypatch):
    with_entry(
        monkeypatch,
        "algorithm",
        needs={traits.FIXED_COHORT: "it counts them"},
        refuses={"dp": "it has none"},
    )
    told = refusal(algorithm=Thing(), dp="fixed_clip", sampling="poisson")
    assert "it has none" in told
    assert "it counts them" in refusal(algorithm=Thing(), sampling="poisson")


def test_data_without_a_model_of_its_own_needs_one(monkeypatch):
    with_entry(monkeypatch, "dataset")
    assert refusal(dataset=Thing()) == (
        "model is missing, and dataset=thing has none of its own: name one, or "
        "give a function that builds a Keras model."
    )
    assert refusal(dataset=Thing(), model="digits_cnn") is None


def test_options_are_checked_and_made_pythons_own(monkeypatch):
    with_entry(monkeypatch, "algorithm")
    field = next(f for f in fields_of(RunConfig) if f.name == "algorithm")
    found = components.normalized(field, Thing(size=2))
    assert isinstance(found.size, float)
    with pytest.raises(UsageError, match="algorithm.size='x' must be a number"):
        components.normalized(field, Thing(size="x"))
    assert isinstance(field.known, Option) is False


@pytest.mark.parametrize(
    ("choice", "trait"),
    [
        ("dp", traits.STATELESS_CLIENTS),
        ("local_randomizer", traits.STATELESS_CLIENTS),
        ("example_dp", traits.STATELESS_CLIENTS),
        ("example_dp", traits.GUARDED_EXAMPLES),
    ],
)
def test_privacy_is_refused_for_an_algorithm_that_promises_nothing(
    monkeypatch, choice, trait
):
    others = {traits.STATELESS_CLIENTS, traits.GUARDED_EXAMPLES} - {trait}
    with_entry(monkeypatch, "algorithm", offers=others)
    entry = FIELDS[choice].known.registry.entries[0]
    noise = {choice: entry.options(noise_multiplier=1.0)}
    message = refusal(algorithm=Thing(), **noise)
    assert f"algorithm=thing does not fit {choice}={entry.name}" in message
    assert "use algorithm=fedavg" in message
    assert refusal(algorithm="fedavg", **noise) is None


@dataclasses.dataclass(frozen=True)
class Named:
    """One of a family."""

    title: str
    size: float | None = option(1.0, "Size.")


def test_a_component_with_an_argument_is_the_same_however_it_is_given(
    monkeypatch,
):
    old = FIELDS["dataset"].known.registry
    registry = Registry(old.kind)
    registry._entries = dict(old._entries)
    registry._by_options = dict(old._by_options)
    add = registry.entry("named", "builtins:dict", argument="title")
    monkeypatch.setattr(Named, "__module__", "tff_cnn.made_up")
    add(Named)
    known = dataclasses.replace(FIELDS["dataset"].known, registry=registry)
    field = RunConfig.__dataclass_fields__["dataset"]
    monkeypatch.setattr(field, "metadata", {"known": known})
    by_name = RunConfig(dataset="named:a/b", model="digits_cnn")
    assert by_name.dataset == Named("a/b")
    by_object = RunConfig(dataset=Named("a/b"), model="digits_cnn")
    assert by_name == by_object
    values = by_name.resolved().flat()
    assert values["dataset"] == "named:a/b"
    assert RunConfig.from_flat(values) == by_name.resolved()
    assert identity.run_name(by_name.resolved()).startswith("named-a-b-")
    other = RunConfig(dataset=Named("a/c"), model="digits_cnn")
    assert identity.fingerprint(other) != identity.fingerprint(by_name)
    with pytest.raises(UsageError, match="dataset=named says not which"):
        RunConfig(dataset="named")
    with pytest.raises(UsageError, match="dataset=named says not which"):
        RunConfig(dataset=Named)


def test_data_says_how_it_is_dealt_unless_somebody_does(monkeypatch):
    with_entry(monkeypatch, "dataset", default_partition="shards")
    found = RunConfig(dataset=Thing(), model="digits_cnn").resolved()
    assert found.flat()["partition"] == "shards"
    found = RunConfig(Thing(), "iid", model="digits_cnn").resolved()
    assert found.flat()["partition"] == "iid"
    assert RunConfig().resolved().flat()["partition"] == "iid"
