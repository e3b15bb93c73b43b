"""Mechanisms come back from what folders say of them, today's and older."""

import json

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.privacy import STAGES, descriptions
from tff_cnn.privacy.ledger import Ledger
from tff_cnn.privacy.local import ExampleDpSgd
from tff_cnn.privacy.mechanism import FixedClipGaussian
from tff_cnn.privacy.participation import Participation
from tff_cnn.selection import SAMPLERS

# What a mechanism needs beside clip, noise and participation.
CENTRAL = {"expected_cohort": 5.0}
NEEDED = {
    "banded": {**CENTRAL, "rounds": 8},
    "blt": {**CENTRAL, "rounds": 8, "buffers": 1},
    "distributed_discrete_gaussian": {**CENTRAL, "num_parameters": 99},
    "distributed_skellam": {**CENTRAL, "num_parameters": 99},
    "dp_sgd": {"expected_lot": 4, "epochs": 1, "client_sizes": (7, 30)},
    "gaussian": {},
    "laplace": {},
}


def build(stage, name):
    """As with the sampler that suits it."""
    entry = stage.registry.find(name)
    sampling = entry.facts.get("sampling", "shuffled_epochs")
    sampler = SAMPLERS.get(sampling)(20, 5)
    return entry.load()(
        clip_norm=0.5,
        noise_multiplier=2.0,
        participation=Participation.of(sampling, sampler),
        **NEEDED.get(name, CENTRAL),
    )


def flat(description):
    """As mechanisms described themselves before participation was a field."""
    moved = dict(description.pop("participation"))
    moved["sampling_rate"] = moved.pop("rate")
    if description["name"] == "ExampleDpSgd":
        for name in ("sampling", "sampling_rate"):
            moved[f"client_{name}"] = moved.pop(name)
    return {**description, **moved}


ALL = [(stage, name) for stage in STAGES for name in stage.registry]


@pytest.mark.parametrize("form", [dict, flat])
@pytest.mark.parametrize(("stage", "name"), ALL, ids=[name for _, name in ALL])
def test_a_mechanism_comes_back_from_both_forms(stage, name, form):
    mechanism = build(stage, name)
    today = json.loads(json.dumps(descriptions.describe(mechanism)))
    assert today["participation"]["num_clients"] == 20
    found = form(json.loads(json.dumps(today)))
    assert ("participation" in found) == (form is dict)
    again = descriptions.read(type(mechanism), found)
    assert again == mechanism
    assert descriptions.nested(found) == today
    # A checkpoint that holds it is of this run.
    ledger = Ledger(mechanism, 1e-3)
    ledger.restore({"rounds": 4, "delta": 1e-3, "mechanism": found}, 4)
    assert ledger.rounds == 4
    found["noise_multiplier"] = 2.1
    with pytest.raises(ValueError, match="its ledger has mechanism"):
        ledger.restore({"rounds": 4, "delta": 1e-3, "mechanism": found}, 4)


def test_as_a_folder_of_before_has_it():
    assert descriptions.read(
        FixedClipGaussian,
        {
            "name": "FixedClipGaussian",
            "clip_norm": 0.3,
            "noise_multiplier": 0.9,
            "expected_cohort": 5.0,
            "sampling": "shuffled_epochs",
            "sampling_rate": 0.25,
            "num_clients": 20,
            "rounds_per_epoch": 4,
            "min_separation": 3,
            "metric_noise_multiplier": None,
        },
    ) == FixedClipGaussian(
        0.3, 0.9, 5.0, Participation("shuffled_epochs", 0.25, 20, 4, 3)
    )
    assert descriptions.read(
        ExampleDpSgd,
        {
            "name": "ExampleDpSgd",
            "clip_norm": 0.8,
            "noise_multiplier": 1.1,
            "expected_lot": 20,
            "epochs": 1,
            "client_sizes": [71],
            "client_sampling": "poisson",
            "client_sampling_rate": 0.5,
            "num_clients": 20,
            "rounds_per_epoch": None,
            "min_separation": None,
        },
    ) == ExampleDpSgd(0.8, 1.1, 20, 1, (71,), Participation("poisson", 0.5, 20))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"clip": 1.0}, TypeError),
        ({"participation": {"sampling": "poisson"}}, TypeError),
        ({"participation": {"sampling": "loyal", "rate": 0.5}}, UsageError),
        ({"clip_norm": 0.0}, UsageError),
    ],
)
def test_what_describes_no_mechanism_is_refused(changed, error):
    mechanism = build(STAGES[0], "fixed_clip")
    with pytest.raises(error):
        descriptions.read(
            FixedClipGaussian, {**descriptions.describe(mechanism), **changed}
        )
