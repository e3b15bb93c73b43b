import dataclasses
import math

import pytest
import tensorflow as tf

import tff_cnn
from tests.models import built
from tff_cnn.models import cost_table, trainable

K = tf.keras.layers


def rows(*layers, shape=(8, 8, 4)):
    model = tf.keras.Sequential([K.InputLayer(shape), *layers])
    return cost_table.cost_table(model)


def test_lenet5_by_hand():
    found = cost_table.cost_table(built.model("lenet5", built.MNIST))
    values = [
        (r.name, r.parameters, r.flops, r.activation_bytes) for r in found
    ]
    # Multiply-adds twice, one bias and one tanh for each number.
    assert values == [
        ("conv2d", 156, 4704 * (2 * 25 + 2), 4 * 4704),
        ("average_pooling2d", 0, 1176 * 4, 4 * 1176),
        ("conv2d_1", 2416, 1600 * (2 * 150 + 2), 4 * 1600),
        ("average_pooling2d_1", 0, 400 * 4, 4 * 400),
        ("flatten", 0, 0, 4 * 400),
        ("dense", 48120, 120 * (2 * 400 + 2), 480),
        ("dense_1", 10164, 84 * (2 * 120 + 2), 336),
        ("dense_2", 850, 10 * (2 * 84 + 1), 40),
    ]
    assert found[0].output_shape == (28, 28, 6) and found[0].kind == "Conv2D"
    assert sum(r.parameters for r in found) == 61_706
    assert sum(r.flops for r in found) == 852_370
    assert not any(r.frozen for r in found)


@pytest.mark.parametrize(
    ("layer", "flops"),
    [
        (K.Conv2D(6, 3, use_bias=False), 216 * 2 * 9 * 4),
        (K.Conv2D(6, 3, groups=2), 216 * (2 * 9 * 2 + 1)),
        (K.Conv2D(6, 3, 2, padding="same"), 96 * (2 * 9 * 4 + 1)),
        (K.Conv2D(6, 3, dilation_rate=2), 96 * (2 * 9 * 4 + 1)),
        (K.DepthwiseConv2D(3, depth_multiplier=2), 288 * (2 * 9 + 1)),
        (
            K.SeparableConv2D(6, 3, activation="relu"),
            144 * 2 * 9 + 216 * (2 * 4 + 2),
        ),
        (K.Conv2DTranspose(6, 3, 2), 256 * 2 * 9 * 6 + 17 * 17 * 6),
        (K.Dense(3), 192 * (2 * 4 + 1)),
        (K.MaxPool2D(3, 1), 144 * 9),
        (K.AveragePooling2D((2, 4)), 32 * 8),
        (K.GlobalAveragePooling2D(), 256),
        (K.GroupNormalization(2), 256 * 8),
        (K.LayerNormalization(), 256 * 8),
        (K.BatchNormalization(), 256 * 2),
        (K.Activation("tanh"), 256),
        (K.Activation("linear"), 0),
        (K.ReLU(6.0), 256),
        (K.Flatten(), 0),
        (K.Dropout(0.5), 0),
        (K.ZeroPadding2D(2), 0),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_flops_of_layers(layer, flops):
    (row,) = rows(layer)
    assert (row.flops, row.is_known) == (flops, True)
    assert row.activation_bytes == 4 * math.prod(row.output_shape)


def test_convolutions_count_what_tensorflow_counts():
    layers = [K.Conv2D(6, 3, 2), K.DepthwiseConv2D(3), K.Dense(5)]
    model = tf.keras.Sequential([K.InputLayer((9, 9, 3)), *layers])
    call = tf.function(model).get_concrete_function(tf.zeros([1, 9, 9, 3]))
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = profiler.profile(call.graph, options=options).total_float_ops
    assert counted == sum(row.flops for row in cost_table.cost_table(model))


def test_inner_models_shared_layers_and_branches():
    inner = tf.keras.Sequential(
        [K.InputLayer((4,)), K.Dense(4, name="one")], name="inner"
    )
    twice = K.Dense(4, name="twice")
    image = tf.keras.Input((4,))
    x = twice(twice(inner(image)))
    model = tf.keras.Model(image, K.Add()([x, x, image]))
    found = {row.name: row for row in cost_table.cost_table(model, 2)}
    assert list(found) == ["inner/one", "twice", "add"]
    assert found["twice"].parameters == 20
    assert found["twice"].flops == 2 * 4 * 9
    assert found["twice"].activation_bytes == 2 * 2 * 4
    assert found["add"].flops == 2 * 4


def test_layers_that_are_not_known_are_marked():
    class Own(K.Layer):
        def call(self, inputs):
            return inputs

    found = rows(Own(name="own"), K.Flatten(), K.Dense(2))
    assert [row.is_known for row in found] == [False, True, True]
    told = cost_table.render("it", found, 1).splitlines()
    assert told[2].split()[1:] == ["8x8x4", "?", "1.0", "kB"]
    assert told[-3].split()[:5] == ["total", "514", "1,026", "+", "?"]


def test_frozen_parameters_are_marked_and_not_sent():
    model = tf.keras.Sequential(
        [K.InputLayer((8, 8, 1)), K.Flatten(), K.Dense(20), K.Dense(3)]
    )
    trainable.freeze(model, "head")
    told = tff_cnn.describe_model(model, clients=7)
    assert "1,300 frozen" in told and "1,363 (1,300 frozen)" in told
    assert "Of 1,363 parameters 63 are trained." in told
    sentence = "sends 252 B to each client and 256 B back: 1.8 kB and 1.8 kB"
    assert f"{sentence} with 7 of them." in " ".join(told.split())


def test_what_travels_may_be_more_than_the_weights_or_is_not_told():
    model = built.model("lenet5", built.MNIST)
    told = cost_table.describe_model(model, 10, traffic=(1000, 500))
    assert (
        "A round sends 1.0 kB to\neach client and 500 B back: 10.0 kB" in told
    )
    told = cost_table.describe_model(model, 10, traffic=())
    assert told.endswith("parameters 61,706 are trained.")


@pytest.mark.parametrize(
    "name", ["resnet20_gn", "resnet18_gn", "mobilenetv2_gn", "vgg11_gn"]
)
def test_the_table_of_a_deep_model_can_be_read(name):
    model = built.model(name, built.CIFAR)
    found = cost_table.cost_table(model)
    lines = cost_table.render(name, found, 10).splitlines()
    assert len(lines) <= 46
    assert max(map(len, lines)) <= 80
    # Whatever is merged, nothing is lost.
    merged = cost_table._shortened(found, 30)
    assert len(merged) <= 30 < len(found)
    for field in ("parameters", "flops", "activation_bytes"):
        totals = (sum(getattr(r, field) for r in x) for x in (found, merged))
        assert len(set(totals)) == 1
    assert sum(row.parameters for row in merged) == model.count_params()


def test_very_long_tables_leave_out_their_middle():
    (row,) = rows(K.Dense(4))
    names = [f"dense_{number}" for number in range(300)]
    found = [dataclasses.replace(row, name=name) for name in names]
    told = cost_table.render("deep", found, 1).splitlines()
    assert len(told) == 2 + 40 + 3
    (middle,) = (line for line in told if "..." in line)
    assert "261 more" in middle and f"{261 * 20:,}" in middle
