import dataclasses

import numpy as np
import pytest

import tff_cnn
from tff_cnn.algorithms import FedDf
from tff_cnn.core import randomness
from tff_cnn.core.errors import UsageError
from tff_cnn.data import dealing, partitioners
from tff_cnn.training import assembly


def test_a_run_has_the_clients_that_were_looked_at():
    config = tff_cnn.RunConfig(
        partition=tff_cnn.Dirichlet(alpha=0.2), num_clients=30, seed=4
    )
    found = tff_cnn.inspect(config)
    clients = assembly.build_task(config.resolved()).clients
    assert len(clients) == 30
    for client in range(30):
        labels = clients.labels(client)
        np.testing.assert_array_equal(
            found.counts[client], np.bincount(labels, minlength=10)
        )
    assert found.sizes.sum() == found.figures["examples"] == 1437
    assert repr(found).startswith(
        "digits: 1,437 images dealt by dirichlet (alpha=0.2) to 30 clients, "
        "seed 4\n"
    )


def test_of_what_is_public_no_client_has_any():
    config = tff_cnn.RunConfig(
        num_clients=7,
        clients_per_round=7,
        seed=2,
        algorithm=FedDf(public_examples=400),
    )
    found = tff_cnn.inspect(config)
    task = assembly.build_task(config.resolved())
    assert len(task.public) == 400 and task.public.labels is None
    assert found.sizes.sum() == 1437 - 400
    assert found.sizes.tolist() == [
        task.clients.num_examples(client) for client in range(7)
    ]
    public = {image.tobytes() for image in task.public.images}
    everyone = task.clients.pooled(range(7))
    dealt = everyone.take(np.arange(len(everyone)))
    assert not public & {image.tobytes() for image in dealt.images}
    assert len(task.evaluation) == 360


def test_data_may_be_given_by_name_options_or_as_a_source(digits):
    expected = tff_cnn.inspect("digits", "shards", 20, seed=3).counts
    for what in (tff_cnn.Digits(), digits):
        found = tff_cnn.inspect(
            what, partition="shards", num_clients=20, seed=3
        )
        np.testing.assert_array_equal(found.counts, expected)
    seed = randomness.seed_sequence(3, randomness.Purpose.PARTITION)
    parts = dealing.dealt(digits, partitioners.shards, 20, seed).indices
    first = np.bincount(digits.train.labels[parts[0]], minlength=10)
    np.testing.assert_array_equal(expected[0], first)
    assert len(tff_cnn.inspect(digits).sizes) == 100


def test_arrays_need_no_model_and_no_test_split():
    arrays = tff_cnn.Arrays(np.ones((40, 8, 8)), np.arange(40) % 4)
    found = tff_cnn.inspect(arrays, num_clients=4)
    assert found.figures["labels"] == 4
    # Nor as many clients as a round would have.
    assert found.figures["clients"] == 4


def test_all_clients_by_nature_and_notes(digits):
    ids = np.minimum(np.arange(1437), 9).astype(np.int32)
    named = dataclasses.replace(
        digits, columns={"client_ids": ids}, notes=("found in a drawer.",)
    )
    found = tff_cnn.inspect(named, tff_cnn.Natural())
    assert found.figures["clients"] == 10
    found = tff_cnn.inspect(named, tff_cnn.Natural(min_client_examples=5))
    assert "note: found in a drawer." in repr(found)
    assert "note: clients with fewer than 5 examples are left" in repr(found)


def test_what_a_run_would_set_aside_is_said():
    config = tff_cnn.RunConfig(evaluate_on="validation", client_holdout=0.25)
    notes = " ".join(tff_cnn.inspect(config).notes)
    assert "a fifth is set aside" in notes and "a part of 0.25" in notes
    config = tff_cnn.RunConfig(holdout_clients=0.1)
    (note,) = tff_cnn.inspect(config).notes
    assert "a part of 0.1 is set aside by holdout_clients" in note


def test_it_is_a_figure_where_there_is_no_notebook():
    found = tff_cnn.inspect("digits", num_clients=3)
    assert found.show().get_size_inches()[0] == pytest.approx(13.2)


def test_mistakes():
    with pytest.raises(UsageError, match="unknown dataset 'digit'"):
        tff_cnn.inspect("digit")
    with pytest.raises(UsageError, match="num_clients is said by the"):
        tff_cnn.inspect(tff_cnn.RunConfig(), num_clients=3)
    with pytest.raises(UsageError, match="has no coarse labels"):
        tff_cnn.inspect("digits", "pachinko")
    with pytest.raises(UsageError, match="dataset=3 is no dataset"):
        tff_cnn.inspect(3)
