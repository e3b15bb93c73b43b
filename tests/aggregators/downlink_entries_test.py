import pytest

from tests.run_test import config
from tff_cnn.aggregators import DOWNLINKS, Int8, Prune
from tff_cnn.core.chains import Chain
from tff_cnn.core.errors import UsageError


def test_codes_of_the_model_are_chained():
    found = config(downlink="prune+int8").resolved().downlink
    assert found == Chain((Prune(), Int8()))
    assert DOWNLINKS.name_of(found) == "prune+int8"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"downlink": "int8+prune"}, r"^int8\+prune: prune cannot follow int8"),
        (
            {"downlink": "int8", "algorithm": "hierarchical"},
            "downlink=int8 does not fit algorithm=hierarchical",
        ),
    ],
)
def test_what_does_not_go_together(fields, message):
    with pytest.raises(UsageError, match=message):
        config(**fields).resolved()
