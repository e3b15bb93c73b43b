"""Cases: every process in `tff.learning.algorithms`."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import (
    MOMENTUM,
    SGD,
    SPEC,
    batched_clients,
    case,
    client_examples,
    functional_model,
    loss,
    process_case,
    variable_model,
)

ALGORITHMS = tff.learning.algorithms
OPTIMIZERS = tff.learning.optimizers


def weighted(model=variable_model, optimizer=MOMENTUM, **options):
    return ALGORITHMS.build_weighted_fed_avg(
        model() if model is functional_model else model,
        SGD,
        optimizer,
        **options,
    )


def tuples():
    return ([c.map(lambda b: (b["x"], b["y"])) for c in batched_clients()],)


def features():
    return ([c.map(lambda e: e["x"]) for c in client_examples()],)


def schedule(round_num):
    return tf.where(round_num < 1, 0.1, 0.05)


process_case("weighted_fed_avg", weighted)
process_case(
    "unweighted_fed_avg",
    lambda: ALGORITHMS.build_unweighted_fed_avg(variable_model, MOMENTUM),
)
process_case("functional_fed_avg", lambda: weighted(functional_model), tuples)
process_case(
    "adam_at_the_server",
    lambda: weighted(optimizer=OPTIMIZERS.build_adam(0.01)),
)
process_case(
    "yogi_at_the_server_and_loops_over_iterators",
    lambda: weighted(
        optimizer=OPTIMIZERS.build_yogi(0.01),
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    ),
)
process_case(
    "fed_avg_with_a_schedule",
    lambda: ALGORITHMS.build_weighted_fed_avg_with_optimizer_schedule(
        variable_model, schedule, OPTIMIZERS.build_adagrad
    ),
)
process_case(
    "fed_prox",
    lambda: ALGORITHMS.build_weighted_fed_prox(variable_model, 0.1, SGD),
)
process_case(
    "unweighted_fed_prox",
    lambda: ALGORITHMS.build_unweighted_fed_prox(variable_model, 0.1, SGD),
)
process_case("fed_sgd", lambda: ALGORITHMS.build_fed_sgd(variable_model))
process_case(
    "mime_lite",
    lambda: ALGORITHMS.build_weighted_mime_lite(
        variable_model, OPTIMIZERS.build_sgdm(0.1, 0.9)
    ),
)
process_case(
    "unweighted_mime_lite",
    lambda: ALGORITHMS.build_unweighted_mime_lite(
        variable_model, OPTIMIZERS.build_rmsprop(0.01)
    ),
)
process_case("fed_eval", lambda: ALGORITHMS.build_fed_eval(variable_model))
process_case(
    "k_means",
    lambda: ALGORITHMS.build_fed_kmeans(3, (4,), random_seed=(1, 2)),
    features,
)


def reconstruction_model():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((4,)),
            tf.keras.layers.Dense(2, kernel_initializer="ones"),
            tf.keras.layers.Dense(3, kernel_initializer="zeros"),
        ]
    )
    return tff.learning.models.ReconstructionModel.from_keras_model_and_layers(
        keras_model=model,
        global_layers=model.layers[:1],
        local_layers=model.layers[1:],
        input_spec=SPEC,
    )


def reconstruction(build, **options):
    return build(
        reconstruction_model,
        loss_fn=loss,
        metrics_fn=lambda: [tf.keras.metrics.SparseCategoricalAccuracy()],
        reconstruction_optimizer_fn=SGD,
        **options,
    )


process_case(
    "fed_recon",
    lambda: reconstruction(
        ALGORITHMS.build_fed_recon,
        server_optimizer_fn=MOMENTUM,
        client_optimizer_fn=SGD,
    ),
)
process_case(
    "fed_recon_eval",
    lambda: reconstruction(ALGORITHMS.build_fed_recon_eval),
    rounds=1,
)


@case
def weights_and_hyperparameters_of_a_process():
    process = weighted()
    state = process.initialize()
    weights = tff.learning.models.ModelWeights(
        [np.full((4, 3), 0.5, np.float32), np.ones(3, np.float32)], []
    )
    state = process.set_model_weights(state, weights)
    hparams = process.get_hparams(state)
    hparams["finalizer"]["learning_rate"] = np.float32(0.25)
    state = process.set_hparams(state, hparams)
    output = process.next(state, batched_clients())
    return process.get_model_weights(output.state), hparams


def fine_tuned(model, train_data, test_data):
    optimizer = tf.keras.optimizers.SGD(0.1)
    for batch in train_data.batch(3):
        with tf.GradientTape() as tape:
            batch_loss = model.forward_pass(batch).loss
        variables = model.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(batch_loss, variables), variables, strict=True)
        )
    return accuracy(model, test_data)


def accuracy(model, data):
    count, correct, total_loss = 0, 0, 0.0
    for batch in data.batch(10):
        output = model.forward_pass(batch, training=False)
        found = tf.argmax(output.predictions, axis=-1, output_type=tf.int32)
        correct += tf.reduce_sum(tf.cast(found == batch["y"], tf.int32))
        count += tf.size(found)
        total_loss += output.loss
    return collections.OrderedDict(
        count=count, correct=correct, loss=total_loss
    )


@case
def personalization_evaluation():
    compute = ALGORITHMS.build_personalization_eval_computation(
        variable_model,
        collections.OrderedDict(tuned=lambda: tf.function(fine_tuned)),
        tf.function(accuracy),
    )
    rng = np.random.default_rng(1)
    weights = tff.learning.models.ModelWeights(
        [rng.normal(size=s).astype(np.float32) for s in ((4, 3), (3,))], []
    )
    clients = [
        collections.OrderedDict(train_data=data, test_data=data.skip(1))
        for data in client_examples()
    ]
    result = compute(weights, clients)
    # Reservoir sampling orders clients at random.
    return tf.nest.map_structure(np.sort, result)
