import pytest

from tff_cnn.models import MODELS


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("digits_cnn", (8, 8, 1), 5_450),
        ("mcmahan_cnn", (28, 28, 1), 1_663_370),
        ("emnist_cnn", (28, 28, 1), 1_199_882),
        ("tanh_cnn", (28, 28, 1), 26_010),
        ("lenet5", (28, 28, 1), 61_706),
        ("niid_cnn", (28, 28, 1), 44_426),
        ("niid_cnn", (32, 32, 3), 62_006),
        ("cifar_cnn", (32, 32, 3), 122_570),
        ("wong_kolter_cnn", (28, 28, 1), 166_406),
    ],
)
def test_parameter_counts_are_the_published_ones(name, shape, parameters):
    assert MODELS.get(name)(shape, 10, 0).count_params() == parameters


def test_emnist_cnn_has_the_papers_layers():
    layers = MODELS.get("emnist_cnn")((28, 28, 1), 10, 0).layers
    assert [type(layer).__name__ for layer in layers] == [
        "Conv2D",
        "Conv2D",
        "MaxPooling2D",
        "Dropout",
        "Flatten",
        "Dense",
        "Dropout",
        "Dense",
    ]
    assert [layers[3].rate, layers[6].rate] == [0.25, 0.5]


def test_tanh_cnn_has_the_papers_layers():
    layers = MODELS.get("tanh_cnn")((28, 28, 1), 10, 0).layers
    assert [tuple(layer.output_shape[1:]) for layer in layers] == [
        (14, 14, 16),
        (13, 13, 16),
        (5, 5, 32),
        (4, 4, 32),
        (512,),
        (32,),
        (10,),
    ]
    assert [layers[i].activation.__name__ for i in (0, 2, 5, 6)] == [
        "tanh",
        "tanh",
        "tanh",
        "linear",
    ]


def test_lenet5_has_the_papers_layers():
    layers = MODELS.get("lenet5")((28, 28, 1), 10, 0).layers
    assert [tuple(layer.output_shape[1:]) for layer in layers] == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (400,),
        (120,),
        (84,),
        (10,),
    ]
    assert {layers[i].activation.__name__ for i in (0, 2, 5, 6)} == {"tanh"}
    assert type(layers[1]).__name__ == "AveragePooling2D"
