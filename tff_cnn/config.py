"""What a run is made of: a notebook writes it, and flags become it.

    RunConfig(dataset=Mnist(download=True), partition=Dirichlet(alpha=0.3),
              dp=FixedClip(epsilon=8.0), rounds=60)

A component is given as its options, or by its name. Nothing here imports
TensorFlow: mistakes are answered at once.
"""

import dataclasses
from typing import Any

from tff_cnn import data, models
from tff_cnn.aggregators import AGGREGATORS, DOWNLINKS, Mean
from tff_cnn.algorithms import (
    ALGORITHMS,
    OPTIMIZERS,
    SCHEDULES,
    Constant,
    FedAvg,
    Sgd,
)
from tff_cnn.core.options import (
    COUNT,
    INT32,
    Condition,
    Range,
    choice,
    integers,
    option,
    positive,
)
from tff_cnn.core.traits import (
    FULL_PRECISION,
    SINGLE_UPDATES,
    UNIFORM_WEIGHTS,
)
from tff_cnn.data import PARTITIONERS, SOURCES, Digits, standards
from tff_cnn.evaluation.attacks import ATTACKS
from tff_cnn.models import ALL, MODELS, check_trainable, class_weights
from tff_cnn.privacy import (
    EXAMPLE_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    STAGES,
)
from tff_cnn.runtime import RUNTIMES, InProcess
from tff_cnn.selection import SAMPLERS, SPEEDS
from tff_cnn.settings import Settings

_STEPS = integers(1, INT32)
_LEFT_OUT = dict.fromkeys(
    ("dp", "local_randomizer", "example_dp"),
    "nothing accounts for who is left out of a round",
)
_HAS_CLOCK = Condition(
    lambda config: config.client_speed is not None,
    "a <client_speed>",
    "client_speed",
)
_FINE_TUNING = Condition(
    lambda config: (
        config.client_holdout > 0 and config.evaluate_clients == "yes"
    ),
    "<client_holdout> > 0, to be evaluated on, and <evaluate_clients>=yes",
    "client_holdout",
)
# The headings of the help, in their order.
GROUPS = (
    "data",
    "model",
    "algorithm",
    "aggregation",
    "privacy",
    "participation",
    "attack",
    "runtime",
    "run",
)


@dataclasses.dataclass(frozen=True)
class RunConfig(Settings):
    """A training run.

    A field has the name of its flag, and a component's option that of its flag
    without the prefix. None follows from other fields, or from the data
    (`resolved`, `is_unresolved`).

    Raises:
      UsageError: A value that is of another kind, unknown or out of range.
    """

    dataset: Any = choice(
        Digits(),
        SOURCES,
        "Data set: {names}.",
        adopt=data.adopted,
        group="data",
    )
    partition: Any = choice(
        None,
        PARTITIONERS,
        "How examples are dealt over clients: {names} (default: iid, or, of "
        "data that is known by its clients, natural).",
        group="data",
    )
    num_clients: int | None = option(
        None,
        "Clients that the training data is dealt to (default: 100, or, where "
        "the data has clients by nature, all of them; fewer are drawn).",
        range=integers(1, 10**9),
        group="data",
    )
    evaluate_on: str = option(
        "test",
        "test, or validation: a fifth of the clients (of an only client's "
        "examples) is set aside, never trained on, and evaluated on instead. "
        "Choose hyperparameters there.",
        choices={"test": (), "validation": ()},
        group="data",
    )
    client_holdout: float = option(
        0.0,
        "Part of each client's examples, in [0, 1), that it is not trained on: "
        "rows then have holdout_loss and holdout_accuracy, of clients that "
        "take part, beside those of data that no client has.",
        range=Range(0, 0.99, "in [0, 1): 0.2 is a fifth"),
        group="data",
    )
    holdout_clients: float = option(
        0.0,
        "Part of the clients, in [0, 1), that is set aside and never trained "
        "on, to evaluate on each of them, while the test split stays what "
        "test_accuracy is of.",
        range=Range(0, 0.99, "in [0, 1): 0.2 is a fifth"),
        applies=Condition(
            lambda config: config.evaluate_on == "test",
            "<evaluate_on>=test (validation sets clients aside itself)",
            "evaluate_on",
        ),
        group="data",
    )
    data_cache_mb: int = option(
        1024,
        "MiB of images that stay in memory where a data set is read from "
        "files while it is trained on.",
        range=integers(0, 10**7),
        material=False,
        group="data",
    )
    to_rgb: bool = option(
        False,
        "Make three equal channels of grey images' one, for models that want "
        "them.",
        group="data",
    )
    standardize: str = option(
        "none",
        "Subtract a mean from images scaled to [0, 1], and divide by a "
        "standard deviation: none; what was published of "
        f"{', '.join(standards.PUBLISHED)}; MEAN/STD, numbers from elsewhere "
        "than the clients, as 0.5/0.25, or 0.5,0.5,0.4/0.2,0.2,0.3 for each "
        "channel; or data: what the clients' images have, which no noise "
        "goes with.",
        check=standards.parse,
        fits=standards.check_public,
        group="data",
    )
    crop_padding: int = option(
        0,
        "Crop images to their size after padding each side by so many "
        "pixels. As the three below in training only, drawn anew for each "
        "image in each local step.",
        range=integers(0, INT32),
        group="data",
    )
    flip: bool = option(
        False, "Mirror each second image, left to right.", group="data"
    )
    cutout_size: int = option(
        0,
        "Cut out a square of so many pixels a side, anywhere (DeVries & "
        "Taylor 2017).",
        range=integers(0, INT32),
        group="data",
    )
    rotation_degrees: float = option(
        0.0,
        "Turn each image by up to so many degrees either way.",
        range=Range(0, 180, "from 0 to 180"),
        group="data",
    )
    model: Any = choice(
        None,
        MODELS,
        "Model: {names}; module:function that builds a Keras model; or the "
        "path of a saved one, to go on from it (default: the data set's own).",
        adopt=models.adopted,
        group="model",
    )
    class_weights: str | None = option(
        None,
        "Weights of the classes in the loss, as 1,2.5: one number a class; of "
        "several labels an image that of each where it is there.",
        check=class_weights.parsed,
        group="model",
    )
    balance_classes: bool = option(
        False,
        "Weigh classes in the loss by how few training examples they have.",
        refuses={
            "class_weights": "both weigh classes",
            **dict.fromkeys(
                ("dp", "local_randomizer", "example_dp"),
                "how many examples of each class clients have would be "
                "released without noise; give numbers known to the public as "
                "<class_weights>",
            ),
        },
        group="model",
    )
    trainable: str = option(
        ALL,
        "What is trained: all; head, the last layer with weights; or the "
        "layers whose whole names a regular expression matches (the table "
        "before training shows them). The others are frozen: neither sent nor "
        "noised.",
        check=check_trainable,
        neutral=ALL,
        group="model",
    )
    algorithm: Any = choice(
        FedAvg(), ALGORITHMS, "Algorithm: {names}.", group="algorithm"
    )
    client_optimizer: Any = choice(
        Sgd(),
        OPTIMIZERS,
        "Optimizer of local training: {names}.",
        prefix="client",
        defaults={"learning_rate": 0.1},
        role="local training",
        group="algorithm",
    )
    client_schedule: Any = choice(
        Constant(),
        SCHEDULES,
        "How the learning rate of local training changes over rounds: {names}.",
        prefix="client",
        role="local training",
        neutral="constant",
        group="algorithm",
    )
    client_epochs: int = option(
        1,
        "Passes over a client's data in a round.",
        range=_STEPS,
        group="algorithm",
    )
    batch_size: int = option(
        10, "Examples in a local step.", range=_STEPS, group="algorithm"
    )
    server_optimizer: Any = choice(
        Sgd(),
        OPTIMIZERS,
        "Applies the mean update: {names}.",
        prefix="server",
        defaults={"learning_rate": 1.0},
        role="the server",
        group="algorithm",
    )
    server_schedule: Any = choice(
        Constant(),
        SCHEDULES,
        "How the server's learning rate changes over rounds: {names}.",
        prefix="server",
        role="the server",
        neutral="constant",
        group="algorithm",
    )
    aggregator: Any = choice(
        Mean(),
        AGGREGATORS,
        "How updates become one: {names}.",
        neutral="mean",
        group="aggregation",
    )
    downlink: Any = choice(
        None,
        DOWNLINKS,
        "What the model is encoded with on its way to the clients: none, "
        "{names}.",
        allows_none=True,
        group="aggregation",
    )
    client_weighting: str | None = option(
        None,
        "What a client counts in the mean: examples or uniform (default: "
        "examples; with noise, which needs it, uniform).",
        choices={"examples": (), "uniform": (UNIFORM_WEIGHTS,)},
        group="aggregation",
    )
    sampling: Any = choice(
        None,
        SAMPLERS,
        "How a round's clients are drawn: {names} (default: fixed_size; with "
        "<dp> what fits its mechanism best).",
        group="participation",
    )
    clients_per_round: int = option(
        10,
        "Clients in a round; with <sampling>=poisson the expected number.",
        range=COUNT,
        group="participation",
    )
    dropout_rate: float = option(
        0.0,
        "Probability, in [0, 1), that a client that was drawn drops out before "
        "the round, independently of the others.",
        range=Range(0, 1 - 1e-9, "in [0, 1)"),
        refuses=dict.fromkeys(
            ("dp", "local_randomizer", "example_dp"),
            "the accountant has no rule for cohorts that clients drop out of",
        ),
        group="participation",
    )
    rounds: int = option(
        100, "Rounds to train.", range=integers(1, 10**6), group="run"
    )
    eval_every: int = option(
        1,
        "Rounds between two evaluations; 0 evaluates the last only.",
        range=integers(0),
        group="run",
    )
    target_accuracy: float | None = option(
        None,
        "Stop at the first evaluation that reaches this accuracy, in (0, 1].",
        range=Range(1e-9, 1, "in (0, 1]: 0.99 is 99 %"),
        applies=Condition(
            lambda config: config.eval_every > 0,
            "<eval_every> > 0",
            "eval_every",
        ),
        group="run",
    )
    evaluate_clients: str | None = option(
        None,
        "Whether each client is evaluated by itself when the run ends: yes or "
        "no. It is on what nothing was trained on (client_holdout, "
        "holdout_clients, evaluate_on=validation), or else on all that clients "
        "train on (default: yes, where something is held out; with noise no, "
        "for epsilon does not cover what this shows of clients).",
        choices={"yes": (), "no": ()},
        material=False,
        group="run",
    )
    client_eval_every: int = option(
        0,
        "Rounds between two evaluations of each client by itself; 0 evaluates "
        "after the last only.",
        range=integers(0),
        material=False,
        applies=Condition(
            lambda config: config.evaluate_clients == "yes",
            "<evaluate_clients>=yes",
            "evaluate_clients",
        ),
        group="run",
    )
    personalize_epochs: int = option(
        0,
        "After the last round, let each client train its model for so many "
        "epochs and evaluate what that gives on the examples that it holds "
        "out.",
        range=integers(0, INT32),
        material=False,
        applies=_FINE_TUNING,
        group="run",
    )
    personalize_steps: int = option(
        0,
        "The same for so many local steps.",
        range=integers(0, INT32),
        material=False,
        applies=_FINE_TUNING,
        refuses={"personalize_epochs": "both say how long clients train"},
        group="run",
    )
    dp: Any = choice(
        None,
        MECHANISMS,
        "Client-level differential privacy at aggregation: none, {names}.",
        prefix="dp",
        allows_none=True,
        absent_offers=(SINGLE_UPDATES,),
        group="privacy",
    )
    local_randomizer: Any = choice(
        None,
        LOCAL_RANDOMIZERS,
        "Local differential privacy: what clients that do not trust the server "
        "do to their whole update before they send it: none, {names}. It goes "
        "with <dp> or without.",
        prefix="local_update",
        allows_none=True,
        group="privacy",
    )
    example_dp: Any = choice(
        None,
        EXAMPLE_MECHANISMS,
        "Example-level differential privacy of each client's training, beside "
        "or without <dp>: none, {names} (noised gradients of clipped examples; "
        "<batch_size> is then the expected one).",
        prefix="example",
        formerly="local_dp",
        former_prefix="local",
        allows_none=True,
        group="privacy",
    )
    test_only_deterministic_noise: bool = option(
        False,
        "NOT PRIVATE, for tests: noise that two runs have in common.",
        applies=Condition(
            lambda config: config.has_noise,
            "<dp>, <local_randomizer> or <example_dp>",
            "dp",
        ),
        group="privacy",
    )
    attack: Any = choice(
        None,
        ATTACKS,
        "What some clients do instead of what they should: none, {names}.",
        allows_none=True,
        group="attack",
    )
    attack_fraction: float = option(
        0.1,
        "Share of the clients that attack, in [0, 1]; they are drawn once for "
        "the run.",
        range=Range(0, 1, "from 0 to 1"),
        applies=Condition(
            lambda config: config.attack is not None, "<attack>", "attack"
        ),
        neutral=0.1,
        group="attack",
    )
    runtime: Any = choice(
        InProcess(),
        RUNTIMES,
        "Where TFF computes: {names}.",
        group="runtime",
    )
    compute_dtype: str = option(
        "float32",
        "Local forward and backward passes: float32, bfloat16 or float16. "
        "Weights and updates are float32.",
        choices={
            "float32": (FULL_PRECISION,),
            "bfloat16": (),
            "float16": (),
        },
        group="runtime",
    )
    client_states_mb: int = option(
        1024,
        "MiB of what clients keep between rounds that stay in memory; the rest "
        "is mapped from the run's folder.",
        range=integers(0, 10**7),
        material=False,
        group="runtime",
    )
    seed: int = option(
        0,
        "Root of all randomness but that of privacy, >= 0.",
        range=integers(0),
        group="run",
    )
    checkpoint_every: int = option(
        1,
        "Rounds between two checkpoints.",
        range=COUNT,
        material=False,
        group="run",
    )
    client_speed: Any = choice(
        None,
        SPEEDS,
        "How long clients take, in simulated seconds that rows then have: "
        "none, {names}. A clock of its own: of no concern to it is how long "
        "this machine computes.",
        prefix="speed",
        allows_none=True,
        group="participation",
    )
    deadline: float | None = option(
        None,
        "Simulated seconds after which the server waits no longer: whose "
        "update comes later is left out of the round.",
        range=positive(),
        applies=_HAS_CLOCK,
        refuses=_LEFT_OUT,
        group="participation",
    )
    over_selection: float | None = option(
        None,
        "Draw so many times <clients_per_round> clients, and take the first "
        "that come: 1.3 is 30 % more (Bonawitz et al. 2019).",
        range=Range(1, 100, "from 1 to 100: 1.3 is 30 % more"),
        applies=_HAS_CLOCK,
        refuses=_LEFT_OUT,
        group="participation",
    )

    @property
    def engine_of_its_own(self) -> str | None:
        """Name of an algorithm whose rounds are not those of one TFF process;
        None where they are.
        """
        entry = ALGORITHMS.entry_of(self.algorithm)
        return entry.name if "engine" in entry.facts else None

    @property
    def has_noise(self) -> bool:
        """Whether anything adds noise."""
        return any(getattr(self, stage.choice) for stage in STAGES)
