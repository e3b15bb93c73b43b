import re
import subprocess

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


def test_results_are_no_changes(tmp_path):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    assert provenance.commit_of(tmp_path) is None
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-m", "first")
    commit = provenance.commit_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", commit)

    results = tmp_path / "baselines" / "paper" / "results"
    results.mkdir(parents=True)
    (results / "method-seed0.json").write_text("{}")
    assert provenance.commit_of(tmp_path) == commit
    (tmp_path / "module.py").write_text("2")
    assert provenance.commit_of(tmp_path) == f"{commit}+changes"
