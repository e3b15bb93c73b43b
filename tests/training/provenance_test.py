import re

from tff_cnn.training import provenance


def test_says_where_a_run_comes_from():
    config = provenance.describe({"seed": 5, "rounds": 2})
    assert config["flags"] == {"seed": 5, "rounds": 2}
    assert config["seed"] == 5
    assert config["versions"]["tensorflow-federated"] == "0.87.0"
    assert config["versions"]["python"].startswith("3.11.")
    # None in a copy that is not a git checkout.
    assert config["commit"] is None or re.fullmatch(
        r"[0-9a-f]{40}(\+changes)?", config["commit"]
    )
