"""A mistake is one sentence with the value and the remedy, and status 2."""

import pytest

from tests import processes

LOCAL = ("--local_randomizer=gaussian", "--local_update_noise_multiplier=1")
DISTRIBUTED = ("--dp=distributed_skellam", "--dp_noise_multiplier=1")
PRIVATE = ("--dp=fixed_clip", "--dp_noise_multiplier=1")

LOCALLY_PRIVATE = ("--example_dp=dp_sgd", "--example_noise_multiplier=1")


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        # Unknown names, with the nearest valid one.
        (["--dataset=digit"], ["'digit'", "did you mean 'digits'"]),
        (["--model=mcmahan"], ["'mcmahan'", "did you mean 'mcmahan_cnn'"]),
        (["--algorithm=fedavgg"], ["did you mean 'fedavg'"]),
        (["--partition=dirichelt"], ["did you mean 'dirichlet'"]),
        (["--sampling=poison"], ["did you mean 'poisson'"]),
        (["--client_optimizer=sdg"], ["did you mean 'sgd'"]),
        (["--server_optimizer=adm"], ["did you mean 'adam'"]),
        (["--runtime=natve"], ["did you mean 'native'"]),
        (["--dp=fixed"], ["did you mean 'fixed_clip'"]),
        (["--client_weighting=example"], ["did you mean 'examples'"]),
        (["--evaluate_on=train"], ["valid are test, validation"]),
        (["--clip_norm=1"], ["clip_norm"]),
        (["--roundz=1"], ["rounds"]),
        # Values that are no numbers, or out of range.
        (["--rounds=many"], ["--rounds=many", "expected an integer"]),
        (["--dp_epsilon=low"], ["--dp_epsilon=low", "expected a number"]),
        (["--rounds=0"], ["--rounds=0", "at least 1"]),
        (["--num_clients=0"], ["--num_clients=0"]),
        (["--batch_size=-1"], ["--batch_size=-1"]),
        (
            ["--client_learning_rate=0"],
            ["--client_learning_rate=0", "positive"],
        ),
        (["--server_momentum=1"], ["--server_momentum=1.0", "[0, 1)"]),
        (["--target_accuracy=99"], ["99", "0.99 is 99 %"]),
        (["--seed=-1"], ["seed"]),
        (["--clients_per_step=some"], ["--clients_per_step=some", "auto"]),
        (["--clients_per_step=0"], ["--clients_per_step=0"]),
        (["--threads=0"], ["--threads=0"]),
        (["--compute_dtype=float8"], ["valid are float32"]),
        # Values that no memory, number or lifetime can hold.
        (["--rounds=1000000000000"], ["--rounds=1000000000000", "1,000,000"]),
        (["--threads=1000000"], ["--threads=1000000", "at most 1,024"]),
        (["--inter_op_threads=1000000"], ["at most 1,024"]),
        (["--intra_op_threads=1000000"], ["at most 1,024"]),
        (["--batch_size=1000000000000"], ["--batch_size", "2,147,483,647"]),
        (["--batch_size=1e12"], ["--batch_size=1e12", "expected an integer"]),
        ([f"--seed={2**63}"], ["--seed=", "at most"]),
        ([f"--rounds={'9' * 5000}"], ["expected an integer"]),
        (
            ["--partition=dirichlet", "--dirichlet_alpha=1e-320"],
            ["--dirichlet_alpha=1e-320", "from 0.0001"],
        ),
        ([*PRIVATE, "--audit_canaries=1000000000"], ["at most 1,000,000"]),
        ([*PRIVATE, "--dp_clip_norm=1e300"], ["=1e+300", "to 1e+09"]),
        (["--dp=fixed_clip", "--dp_noise_multiplier=1e300"], ["to 1e+06"]),
        (["--dp=fixed_clip", "--dp_noise_multiplier=1e-300"], ["from 0.01"]),
        (["--dp=fixed_clip", "--dp_epsilon=nan"], ["--dp_epsilon=nan"]),
        (["--client_learning_rate=inf"], ["--client_learning_rate=inf"]),
        (["--server_learning_rate=1e-45"], ["=1e-45", "from 1e-30"]),
        (["--server_momentum=nan"], ["--server_momentum=nan"]),
        (["--devices=CPU:7"], ["--devices=CPU:7", "without a gap"]),
        (["--devices=gpus"], ["--devices=gpus", "GPU:0"]),
        (["--clients_per_step=" + "9" * 30], ["auto or an integer"]),
        (["--noresume=1"], ["--noresume=1", "--resume=false"]),
        (["--standardize=mnits"], ["'mnits'", "did you mean 'mnist'"]),
        (["--standardize=0.5/0"], ["--standardize=0.5/0 has", "positive"]),
        (["--crop_padding=-1"], ["--crop_padding=-1", "at least 0"]),
        (["--rotation_degrees=nan"], ["--rotation_degrees=nan", "to 180"]),
        (
            [*LOCALLY_PRIVATE, "--standardize=data"],
            ["--standardize=data does not go with --example_dp", "no noise"],
        ),
        # Flags that the chosen configuration would ignore.
        (
            ["--runtime=native", "--devices=GPU:0"],
            ["would be ignored", "--runtime=in_process"],
        ),
        (
            ["--dirichlet_alpha=1"],
            ["would be ignored", "--partition=dirichlet"],
        ),
        (["--shards_per_client=1"], ["would be ignored", "--partition=shards"]),
        (["--data_dir=/x"], ["would be ignored", "--dataset=mnist"]),
        (["--download"], ["would be ignored"]),
        (["--dp_clip_norm=1"], ["would be ignored", "--dp=fixed_clip"]),
        (["--dp_epsilon=1"], ["would be ignored"]),
        (["--dp_target_quantile=0.4", *PRIVATE], ["--dp=adaptive_clip"]),
        (
            ["--server_optimizer=adam", "--server_momentum=0.5"],
            ["would be ignored", "--server_optimizer=sgd"],
        ),
        (
            ["--sampling=full", "--clients_per_round=5"],
            ["would be ignored", "--sampling=poisson"],
        ),
        (["--target_accuracy=0.5", "--eval_every=0"], ["--eval_every > 0"]),
        (["--audit_canaries=50"], ["would be ignored", "--dp=fixed_clip"]),
        ([*PRIVATE, "--audit_canaries=9"], ["--audit_canaries=9", "least 10"]),
        (["--test_only_deterministic_noise"], ["would be ignored"]),
        (["--deadline=3"], ["--deadline=3.0 would be", "a --client_speed"]),
        (["--over_selection=2"], ["would be ignored", "a --client_speed"]),
        (["--speed_jitter=1"], ["would be ignored", "--client_speed=equal"]),
        (["--buffer_size=3"], ["would be ignored", "--algorithm=fedbuff"]),
        (
            ["--algorithm=fedbuff", "--buffer_size=3", "--clients_per_round=4"],
            ["--clients_per_round=4 would be", "--buffer_size=3 takes its"],
        ),
        (
            ["--client_speed=trace:nowhere"],
            ["--client_speed=trace:nowhere is no"],
        ),
        # Combinations that cannot be.
        (
            ["--algorithm=fedbuff", *PRIVATE],
            ["--dp=fixed_clip does not go with", "clients come one by one"],
        ),
        (
            ["--client_speed=equal", "--deadline=3", *PRIVATE],
            ["does not go with --deadline=3.0", "who is left out"],
        ),
        (
            ["--num_clients=5", "--clients_per_round=6"],
            ["--clients_per_round=6", "--num_clients=5"],
        ),
        (
            [*PRIVATE, "--client_weighting=examples"],
            ["--client_weighting=examples", "unbounded", "uniform"],
        ),
        (["--dp=fixed_clip"], ["neither", "--dp_epsilon"]),
        (
            ["--dp=tree", "--dp_noise_multiplier=1", "--sampling=poisson"],
            ["does not fit --dp=tree", "--sampling=shuffled_epochs"],
        ),
        ([*PRIVATE, "--dp_bands=3"], ["--dp=banded"]),
        ([*PRIVATE, "--dp_bits=16"], ["--dp=distributed_skellam"]),
        (
            [*DISTRIBUTED, "--sampling=poisson"],
            ["does not fit --dp=distributed_skellam", "--sampling=fixed_size"],
        ),
        (
            [*DISTRIBUTED, "--dp_metrics"],
            ["--dp_metrics=True does not go with --dp=distributed_skellam"],
        ),
        (
            [*DISTRIBUTED, "--test_only_deterministic_noise"],
            ["--test_only_deterministic_noise=True does not go with"],
        ),
        ([*PRIVATE, "--dp_buffers=3"], ["--dp=blt"]),
        ([*PRIVATE, "--dp_single_tree"], ["--dp=tree"]),
        (["--min_separation=2"], ["--sampling=shuffled_epochs"]),
        ([*PRIVATE, "--dp_delta=0.5"], ["--dp_delta=0.5", "1/num_clients"]),
        ([*PRIVATE, "--dp_clip_norm=0"], ["--dp_clip_norm=0"]),
        (["--dp=fixed_clip", "--dp_epsilon=-2"], ["--dp_epsilon=-2"]),
        (["--local_randomizer=gauss"], ["did you mean 'gaussian'"]),
        (
            ["--local_update_clip_norm=1"],
            ["would be ignored", "--local_randomizer"],
        ),
        (
            ["--local_randomizer=laplace"],
            ["neither of --local_update_noise_multiplier"],
        ),
        (
            [*LOCAL, "--client_weighting=examples"],
            ["--client_weighting=examples", "--local_randomizer", "uniform"],
        ),
        (
            [*LOCAL, "--local_update_clip_norm=0"],
            ["--local_update_clip_norm=0"],
        ),
        ([*LOCAL, "--local_update_delta=1"], ["--local_update_delta=1"]),
        (["--example_dp=sgd"], ["did you mean 'dp_sgd'"]),
        (
            ["--example_clip_norm=1"],
            ["would be ignored", "--example_dp=dp_sgd"],
        ),
        (["--example_dp=dp_sgd"], ["neither", "--example_epsilon"]),
        (
            [*LOCALLY_PRIVATE, "--example_clip_norm=-1"],
            ["--example_clip_norm=-1", "--example_dp=none"],
        ),
        (
            [*LOCALLY_PRIVATE, "--client_weighting=examples"],
            ["--example_dp", "how many examples were drawn", "uniform"],
        ),
        (
            [*LOCALLY_PRIVATE, "--compute_dtype=bfloat16"],
            ["--compute_dtype=bfloat16", "float32"],
        ),
        (["--record=r.json"], ["--record with 0 flagfiles"]),
        (
            ["--record=r.json", "--evaluate_on=validation"],
            ["--evaluate_on=validation", "--evaluate_on=test"],
        ),
        (["stray"], ["unexpected argument 'stray'"]),
        (["--flagfile=nowhere.flags"], ["nowhere.flags"]),
    ],
    ids=lambda value: " ".join(value) if value[0][:2] == "--" else "",
)
def test_mistakes_that_need_no_data(flags, parts, tmp_path):
    run_dir = tmp_path / "run"
    result = processes.train(f"--run_dir={run_dir}", *flags)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr
    assert not run_dir.exists()


HEAVY = (
    "tensorflow",
    "tensorflow_federated",
    "scipy",
    "dp_accounting",
    "numpy",
)


# In a process of its own: what is imported is what is tested.
def test_good_and_bad_flags_and_help_answer_without_what_is_slow():
    program = (
        "import sys; from experiments import entry, flags, help, train;"
        "train.define_flags();"
        "entry.parse_flags(sys.argv, help.show);"
        "flags.config_from_flags(sys.argv);"
        "print(help.show(None, [], ''), help.show('fedavg', [], ''));"
        f"sys.exit(any(name in sys.modules for name in {HEAVY}))"
    )
    private = ["--dp=banded", "--dp_epsilon=3", "--local_dp=dp_sgd"]
    flags = [*private, "--local_epsilon=3", "--rounds=3"]
    assert processes.run("-c", program, *flags).returncode == 0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (
            ["--dataset=mnist", "--data_dir={tmp}"],
            ["'mnist' was not found in {tmp}", "--download"],
        ),
        (
            [
                "--partition=shards",
                "--num_clients=400",
                "--shards_per_client=4",
            ],
            ["1600 shards", "1437 training examples"],
        ),
        (["--num_clients=1438"], ["--num_clients=1438", "1437"]),
        (
            ["--client_epochs=1000000000"],
            ["--client_epochs=1000000000", "GiB of memory, but only"],
        ),
        (["--standardize=cifar10"], ["images have 1", "use --to_rgb"]),
        (["--crop_padding=8"], ["--crop_padding=8", "8x8: use 7 at most"]),
        (["--devices=GPU:9"], ["GPU:9", "TensorFlow sees CPU:0"]),
        (
            [
                "--dp=adaptive_clip",
                "--dp_noise_multiplier=2",
                "--clients_per_round=10",
            ],
            ["too large for adaptive clipping"],
        ),
        (
            ["--dp=fixed_clip", "--dp_epsilon=1e6"],
            ["--dp_epsilon", "out of reach"],
        ),
        (
            [*PRIVATE, "--dp_epsilon=0.001"],
            ["round 1 would spend epsilon", "--dp_epsilon=0.001"],
        ),
        (
            ["--sampling=shuffled_epochs", "--min_separation=11"],
            ["--min_separation=11", "rounds of an epoch, 10"],
        ),
        (
            # Of all examples, not of the largest client's 15.
            [*LOCALLY_PRIVATE, "--example_delta=0.001"],
            ["--example_delta=0.001", "1/num_examples = 0.000696"],
        ),
        (
            [*LOCALLY_PRIVATE, "--example_epsilon=0.001"],
            ["round 1 would spend epsilon", "--example_epsilon=0.001"],
        ),
    ],
    ids=[
        "no data",
        "shards",
        "clients",
        "memory",
        "channels",
        "crop",
        "devices",
        "adaptive",
        "epsilon",
        "first round",
        "separation",
        "local delta",
        "first local round",
    ],
)
def test_mistakes_that_only_the_data_shows(flags, parts, tmp_path):
    run_dir = tmp_path / "run"
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    result = processes.train(f"--run_dir={run_dir}", *flags)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part.format(tmp=tmp_path) in result.stderr
    assert not run_dir.exists()


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    result = processes.train(f"--run_dir={tmp_path}")
    assert result.returncode == 2
    assert "thesis.tex" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


RECORDED = (
    "--flagfile=experiments/quickstart.flags",
    "--example_dp=none",
    "--rounds=1",
)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{tmp}/file/run", "Not a directory"),
        ("{tmp}/file", "is a file"),
        ("{tmp}/dangling", "leads nowhere"),
        ("{tmp}/loop", "symbolic links"),
        ("{tmp}/" + "x" * 300, "too long"),
        ("/proc/run", "No such file"),
    ],
)
def test_places_of_runs_and_records_are_tried_first(path, reason, tmp_path):
    (tmp_path / "file").write_text("{}")
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    path = path.format(tmp=tmp_path)
    run_dir = tmp_path / "run"
    for name, flags in (
        ("run_dir", [f"--run_dir={path}"]),
        ("record", [*RECORDED, f"--record={path}", f"--run_dir={run_dir}"]),
    ):
        result = processes.train(*flags)
        assert result.returncode == 2, result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert f"--{name}={path}" in result.stderr
        if not (name, reason) == ("record", "is a file"):
            assert reason in result.stderr
        assert sorted(tmp_path.rglob("*")) == before


def test_a_record_replaces_nothing_else(tmp_path):
    path = tmp_path / "thesis.json"
    path.write_text('{"chapters": 5}')
    flags = [*RECORDED, f"--record={path}", f"--run_dir={tmp_path / 'run'}"]
    result = processes.train(*flags)
    assert result.returncode == 2
    assert "something else than a record" in result.stderr
    assert path.read_text() == '{"chapters": 5}'
