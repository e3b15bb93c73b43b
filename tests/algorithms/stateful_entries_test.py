"""What the file says of its algorithms: their clients keep something."""

import pytest

from tests.contracts.algorithms_contract_test import build
from tff_cnn.algorithms import ALGORITHMS, stateful_entries
from tff_cnn.algorithms.rule_process import RuleProcess

ENTRIES = [
    entry
    for entry in ALGORITHMS.entries
    if entry.options.__module__ == stateful_entries.__name__
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_clients_keep_something(entry):
    assert len(ENTRIES) >= 5
    assert entry.facts["keeps"] != "nothing"
    process = build(entry.name, 0.1).process
    assert isinstance(process, RuleProcess)
    assert process.initial_kept.size > 0
