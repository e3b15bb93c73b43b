"""What the file says of its algorithms: their clients keep nothing."""

import pytest

from tests.contracts.algorithms_contract_test import build
from tff_cnn.algorithms import ALGORITHMS, synchronous_entries
from tff_cnn.algorithms.rule_process import RuleProcess
from tff_cnn.core.traits import STATELESS_CLIENTS

ENTRIES = [
    entry
    for entry in ALGORITHMS.entries
    if entry.options.__module__ == synchronous_entries.__name__
]


def test_the_first_is_the_one_that_others_are_compared_with():
    assert ENTRIES[0].name == ALGORITHMS.names[0] == "fedavg"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_clients_keep_nothing(entry):
    assert STATELESS_CLIENTS in entry.offers
    assert "engine" not in entry.facts and entry.facts["keeps"] == "nothing"
    process = build(entry.name, 0.1).process
    if isinstance(process, RuleProcess):
        assert process.initial_kept.size == 0
