"""Help that can be read."""

import re

import pytest

from experiments import flags as run_flags
from experiments import help, train
from experiments.flagfiles import Given
from tests import processes
from tests.experiments import commands
from tff_cnn.config import GROUPS, RunConfig
from tff_cnn.core.errors import UsageError

LEAVES = RunConfig.leaves()
OWN = commands.train._OWN_FLAGS


def shown(topic=None, *arguments) -> str:
    expanded = [Given(argument) for argument in arguments]
    return help.show(topic, expanded, train.__doc__, OWN)


def flags_in(text: str) -> set[str]:
    """Flags that have a line of their own."""
    starts = re.findall(r"^ {2,4}(--\S+)", text, re.MULTILINE)
    names = (start.partition("=")[0] for start in starts)
    return {name.removeprefix("--").removeprefix("[no]") for name in names}


def test_help_shows_what_is_chosen_under_its_headings():
    text = shown()
    assert text.startswith("Trains a federated CNN")
    headings = [line for line in text.splitlines() if line.isupper()]
    assert headings == [group.upper() for group in GROUPS]
    flags = flags_in(text)
    assert {"dataset", "dp", "server_momentum", "run_dir", "resume"} <= flags
    assert not {"dirichlet_alpha", "dp_epsilon", "download"} & flags
    with_noise = flags_in(shown(None, "--dp=tree", "--partition=dirichlet"))
    assert with_noise - flags >= {
        "dp_clip_norm",
        "dp_single_tree",
        "dirichlet_alpha",
    }
    assert "dp_bands" not in with_noise
    assert max(map(len, text.splitlines())) <= 80


def test_what_follows_from_a_choice_is_shown():
    noise = ["--dp=tree", "--dataset=mnist"]
    text = shown(None, *noise)
    assert "--sampling=shuffled_epochs" in text
    assert "--model=mcmahan_cnn" in text


def test_groups_show_all_flags_together():
    found = set().union(*(flags_in(shown(group)) for group in GROUPS))
    assert found == {*LEAVES, *OWN}


@pytest.mark.parametrize(
    "registry",
    [leaf.known.registry for leaf in LEAVES.values() if leaf.is_choice],
    ids=lambda registry: registry.kind,
)
def test_every_component_tells_of_itself(registry):
    for entry in registry.entries:
        text = shown(entry.name)
        assert entry.summary.rstrip(".") in " ".join(text.split())
        own = {leaf.flag for leaf in LEAVES.values() if entry in leaf.owners}
        assert own <= flags_in(text)
        assert "<" not in text.replace("< ", "") and "{" not in text
        for reason in entry.needs.values():
            assert reason.split()[0] in text


def test_an_unknown_topic_names_the_nearest():
    with pytest.raises(UsageError, match="unknown topic 'fedavgg': did you"):
        shown("fedavgg")


def test_a_mistake_beside_help_is_told():
    with pytest.raises(UsageError, match="unknown dp 'tre'"):
        shown(None, "--dp=tre")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--help"], "AGGREGATION\n"),
        (["-h", "--dp=blt"], "--dp_buffers=3"),
        (["--helpshort"], "RUNTIME\n"),
        (["--help=tree"], "DP-FTRL"),
        (["--help=privacy"], "--example_clip_norm=1.0"),
        (["--helpfull"], "--[no]dp_single_tree:"),
    ],
)
def test_the_program_answers(arguments, part):
    result = processes.train(*arguments)
    assert result.returncode == 0, result.stderr
    assert part in result.stdout


def test_help_of_a_flagfile_shows_its_choices(tmp_path):
    path = tmp_path / "x.flags"
    path.write_text("--local_dp=dp_sgd\n")
    result = processes.train(f"--flagfile={path}", "--help")
    assert "--example_dp=dp_sgd" in result.stdout
    assert f"--{run_flags.former_flags()['local_clip']}=1.0" in result.stdout
