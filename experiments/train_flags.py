"""The flags of `experiments.train`, each with its meaning and default."""

from absl import flags

from experiments.configuration import NO_DP
from tff_cnn.algorithms import ALGORITHMS
from tff_cnn.algorithms.optimizers import OPTIMIZERS
from tff_cnn.data import PARTITIONERS, SOURCES
from tff_cnn.models import MODELS
from tff_cnn.privacy import LOCAL_MECHANISMS, LOCAL_RANDOMIZERS, MECHANISMS
from tff_cnn.runtime import RUNTIMES
from tff_cnn.selection import SAMPLERS


def define() -> None:
    """Defines the flags of `experiments.train`."""
    _define_data_flags()
    _define_training_flags()
    define_participation_flags()
    define_privacy_flags()
    define_randomizer_flags()
    define_local_privacy_flags()
    _define_audit_flags()
    _define_test_flags()
    _define_run_flags()


def _names(names) -> str:
    return ", ".join(names)


def _define_data_flags() -> None:
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string("dataset", "digits", f"Data set: {_names(SOURCES)}.")
    string(
        "data_dir",
        None,
        "Folder of TensorFlow Datasets (default: ~/tensorflow_datasets).",
    )
    flags.DEFINE_bool(
        "download", False, "Download the data set where it is missing."
    )
    string(
        "partition",
        "iid",
        f"How examples are dealt over clients: {_names(PARTITIONERS)}.",
    )
    integer("num_clients", 100, "Clients that the training data is dealt to.")
    flags.DEFINE_float(
        "dirichlet_alpha",
        0.5,
        "Concentration of a client's class mixture, > 0 "
        "(--partition=dirichlet).",
    )
    integer(
        "shards_per_client",
        2,
        "Shards of sorted data that a client gets (--partition=shards).",
    )
    string(
        "evaluate_on",
        "test",
        "test, or validation: a fifth of the clients (of an only client's "
        "examples) is set aside, never trained on, and evaluated on instead. "
        "Choose hyperparameters there.",
    )


def _define_training_flags() -> None:
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    number = flags.DEFINE_float
    string(
        "model", None, f"Model: {_names(MODELS)} (default: the data set's own)."
    )
    string("algorithm", "fedavg", f"Algorithm: {_names(ALGORITHMS)}.")
    string(
        "client_optimizer",
        "sgd",
        f"Optimizer of local training: {_names(OPTIMIZERS)}.",
    )
    number("client_learning_rate", 0.1, "Learning rate of local training, > 0.")
    integer("client_epochs", 1, "Passes over a client's data in a round.")
    integer("batch_size", 10, "Examples in a local step.")
    string(
        "client_weighting",
        None,
        "What a client counts in the mean: examples or uniform (default: "
        "examples; with --dp, which needs it, uniform).",
    )
    string(
        "server_optimizer",
        "sgd",
        f"Applies the mean update: {_names(OPTIMIZERS)}.",
    )
    number("server_learning_rate", 1.0, "Learning rate of the server, > 0.")
    number(
        "server_momentum",
        0.0,
        "Momentum of the server in [0, 1) (--server_optimizer=sgd).",
    )
    integer("rounds", 100, "Rounds to train.")
    integer(
        "eval_every",
        1,
        "Rounds between two evaluations; 0 evaluates the last only.",
    )
    number(
        "target_accuracy",
        None,
        "Stop at the first evaluation that reaches this accuracy, in (0, 1].",
    )


def define_participation_flags() -> None:
    """Defines the flags that say who takes part."""
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string(
        "sampling",
        None,
        f"How a round's clients are drawn: {_names(SAMPLERS)} (default: "
        "fixed_size; with --dp poisson, where noise is correlated over rounds "
        "shuffled_epochs, and where it is distributed fixed_size).",
    )
    integer(
        "clients_per_round",
        10,
        "Clients in a round; with --sampling=poisson the expected number.",
    )
    integer(
        "min_separation",
        None,
        "Rounds between two participations of a client, at least; default: "
        "as many as an epoch has (--sampling=shuffled_epochs).",
    )


def define_privacy_flags() -> None:
    """Defines the flags of differential privacy."""
    number = flags.DEFINE_float
    flags.DEFINE_string(
        "dp",
        NO_DP,
        "Client-level differential privacy at aggregation: none, "
        f"{_names(MECHANISMS)}.",
    )
    number(
        "dp_clip_norm",
        0.3,
        "L2 bound of a client's update, > 0 (adaptive_clip: the first one).",
    )
    number(
        "dp_noise_multiplier",
        None,
        "Noise standard deviation over the clip norm, > 0; or give "
        "--dp_epsilon.",
    )
    number(
        "dp_epsilon",
        None,
        "Epsilon to be spent by the last round; finds the noise multiplier, "
        "or, where that is given too, stops the run before a round crosses it.",
    )
    number(
        "dp_delta",
        None,
        "Delta, below 1/num_clients (default: num_clients^-1.1).",
    )
    number(
        "dp_target_quantile",
        0.5,
        "Fraction of updates left unclipped (--dp=adaptive_clip).",
    )
    number(
        "dp_clip_learning_rate",
        0.2,
        "Geometric step of the clip norm (--dp=adaptive_clip).",
    )
    flags.DEFINE_bool(
        "dp_metrics",
        False,
        "Also release, in each round, the cohort's accuracy with noise of 5 "
        "points; epsilon includes it.",
    )
    flags.DEFINE_bool(
        "dp_single_tree",
        False,
        "One noise tree for all rounds instead of a new one with each epoch "
        "(--dp=tree).",
    )
    flags.DEFINE_integer(
        "dp_bands",
        None,
        "Rounds over which noise is correlated; the server keeps so many "
        "copies of the model (--dp=banded; default: as many rounds as lie "
        "between two participations of a client).",
    )
    flags.DEFINE_integer(
        "dp_buffers",
        3,
        "Copies of the model that the server keeps for its noise (--dp=blt).",
    )
    flags.DEFINE_integer(
        "dp_bits",
        20,
        "Bits of a coordinate of the secure sum, 1 to 22 (--dp=distributed_...)"
        ".",
    )


def define_randomizer_flags() -> None:
    """Noise that clients add to their whole updates."""
    number = flags.DEFINE_float
    flags.DEFINE_string(
        "local_randomizer",
        NO_DP,
        "What clients that do not trust the server do to their whole update "
        f"before they send it: none, {_names(LOCAL_RANDOMIZERS)}. It goes with "
        "--dp or without.",
    )
    number(
        "local_update_clip",
        0.3,
        "Bound of a client's update, > 0: of its L2 norm with gaussian, of its "
        "L1 norm with laplace.",
    )
    number(
        "local_update_noise_multiplier",
        None,
        "Scale of the noise over that bound, > 0 (gaussian: standard "
        "deviation); or give --local_update_epsilon.",
    )
    number(
        "local_update_epsilon",
        None,
        "Epsilon of a client against the server over all rounds; finds the "
        "noise, and the run stops before it is crossed.",
    )
    number(
        "local_update_delta",
        None,
        "Delta of the local randomizer, below 1/num_clients (default: "
        "num_clients^-1.1).",
    )


def define_local_privacy_flags() -> None:
    """Defines the flags of differential privacy within the clients."""
    number = flags.DEFINE_float
    flags.DEFINE_string(
        "local_dp",
        NO_DP,
        "Differential privacy within each client, beside or without --dp: "
        f"none, {_names(LOCAL_MECHANISMS)} (noised gradients of clipped "
        "examples; --batch_size is then the expected one).",
    )
    number("local_clip", 1.0, "L2 bound of an example's gradient, > 0.")
    number(
        "local_noise_multiplier",
        None,
        "Noise standard deviation over --local_clip, > 0; or give "
        "--local_epsilon.",
    )
    number(
        "local_epsilon",
        None,
        "Epsilon of an example by the last round; as --dp_epsilon.",
    )
    number(
        "local_delta",
        None,
        "Delta, below one over the examples of the largest client (default: "
        "number of training examples^-1.1).",
    )


def _define_audit_flags() -> None:
    flags.DEFINE_integer(
        "audit_canaries",
        0,
        "Clients that send random directions, added to measure epsilon in one "
        "run (Andrew et al. 2023); the model is then not to be published. "
        "Each costs two random vectors of the model's size a round (--dp).",
    )


def _define_test_flags() -> None:
    flags.DEFINE_bool(
        "test_only_deterministic_noise",
        False,
        "NOT PRIVATE, for tests: noise that two runs have in common.",
    )


def _define_runtime_flags() -> None:
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    string("runtime", "in_process", f"Where TFF computes: {_names(RUNTIMES)}.")
    string(
        "clients_per_step",
        "auto",
        "Clients that are trained in one call, or auto: several where that "
        "is faster, small models on a CPU and all on a GPU.",
    )
    string(
        "devices",
        "auto",
        "Where clients are trained, as GPU:0,GPU:1; auto is all GPUs, or else "
        "the CPU.",
    )
    integer(
        "threads",
        None,
        "Calls at the same time (default: CPU cores; two for each GPU).",
    )
    integer("intra_op_threads", 1, "Threads that share one operation.")
    integer(
        "inter_op_threads",
        None,
        "Threads that operations are dealt over (default: CPU cores, and two "
        "at least).",
    )
    string(
        "compute_dtype",
        "float32",
        "Local forward and backward passes: float32, bfloat16 or float16. "
        "Weights and updates are float32.",
    )


def _define_run_flags() -> None:
    integer = flags.DEFINE_integer
    _define_runtime_flags()
    integer(
        "seed",
        0,
        "Root of all randomness but that of --dp and --local_dp, >= 0.",
        0,
    )
    flags.DEFINE_string(
        "record",
        None,
        "Also write the result here, as JSON; for a run of a flagfile.",
    )
    flags.DEFINE_string(
        "run_dir",
        None,
        "Run folder (default: a folder under runs/ named after the flags, so "
        "that the same command finds it again).",
    )
    flags.DEFINE_bool(
        "resume",
        True,
        "Continue the run that the folder holds; --noresume refuses to.",
    )
    integer("checkpoint_every", 1, "Rounds between two checkpoints.")
