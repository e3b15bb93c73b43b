"""What the file says of its algorithms: each has an engine of its own."""

import pytest

from tff_cnn.algorithms import ALGORITHMS, engine_entries
from tff_cnn.core import registry
from tff_cnn.training import engines

ENTRIES = [
    entry
    for entry in ALGORITHMS.entries
    if entry.options.__module__ == engine_entries.__name__
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_its_engine_is_there(entry):
    assert len(ENTRIES) >= 4
    found = registry.load(entry.facts["engine"])
    assert found is engines.of(entry) is not engines.build
