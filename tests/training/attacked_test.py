import dataclasses

import numpy as np
import pytest

import tff_cnn
from tests.run_test import config
from tff_cnn.algorithms import update_attacks
from tff_cnn.core.errors import UsageError
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.attacks import SignFlip
from tff_cnn.evaluation.attacks.attack import Attack
from tff_cnn.training import attacked
from tff_cnn.training.assembly import build_task

CONFIG = config(attack="sign_flip", attack_fraction=0.5).resolved()


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.3, 3), (1, 10)])
def test_so_many_clients_attack(fraction, count):
    found = attacked.attackers(config(attack="sign_flip").resolved(), 10)
    assert len(found) == 1  # A tenth.
    options = config(attack="sign_flip", attack_fraction=fraction)
    found = attacked.attackers(options, 10)
    assert len(set(found)) == count and set(found) <= set(range(10))
    assert list(found) == sorted(found)
    again = dataclasses.replace(options, rounds=7)
    np.testing.assert_array_equal(found, attacked.attackers(again, 10))


def test_who_attacks_depends_on_the_seed():
    found = {
        tuple(attacked.attackers(dataclasses.replace(CONFIG, seed=seed), 100))
        for seed in range(3)
    }
    assert len(found) == 3


def element_of(task, client):
    (element,) = task.client_data(client, 1, 0, Batching(1, 5))
    return element


def test_attackers_are_marked_and_no_task_is_changed_without_an_attack():
    plain = build_task(CONFIG)
    assert attacked.attacked(plain, config().resolved()) is plain
    task = attacked.attacked(plain, CONFIG)
    assert list(task.element_spec) == [
        *plain.element_spec,
        *update_attacks.SPECS,
    ]
    marked = {
        client for client in range(6) if element_of(task, client)["attacker"]
    }
    assert marked == task.attackers and len(marked) == 3


def test_attackers_alone_train_on_what_is_poisoned():
    seeds = []

    def poison(element, seed):
        seeds.append(tuple(seed))
        return type(element)(element, labels=0 * element["labels"] + 2)

    plain = build_task(CONFIG)
    task = dataclasses.replace(
        attacked.attacked(plain, CONFIG), attack=Attack(poison)
    )
    assert list(task.element_spec) == list(plain.element_spec)
    for client in range(6):
        labels = element_of(task, client)["labels"]
        expected = element_of(plain, client)["labels"]
        if client in task.attackers:
            expected = np.full_like(expected, 2)
        np.testing.assert_array_equal(labels, expected)
    assert len(set(seeds)) == 3


def test_a_run_is_attacked(tmp_path):
    honest = tff_cnn.train(config(rounds=1))
    found = tff_cnn.train(
        config(rounds=1, attack=SignFlip(2.0), attack_fraction=1.0)
    )
    assert found.summary["weights_sha256"] != honest.summary["weights_sha256"]


def test_attacks_on_updates_are_for_synchronous_rounds():
    with pytest.raises(UsageError, match="sign_flip does not fit .*hierarch"):
        config(attack="sign_flip", algorithm="hierarchical").resolved()
    with pytest.raises(UsageError, match="attack_fraction.*ignored"):
        config(attack_fraction=0.2).resolved()


def test_clients_of_an_attacked_run_are_fine_tuned_on_what_they_have():
    found = tff_cnn.train(
        config(
            rounds=1,
            attack="sign_flip",
            client_holdout=0.3,
            personalize_epochs=1,
        )
    )
    metrics = found.summary["clients"]["sets"]["holdout"]
    assert metrics["tuned_accuracy"]["uniform"]["mean"] > 0


def test_no_canaries_are_beside_attackers():
    audited = tff_cnn.FixedClip(noise_multiplier=1.0, audit_canaries=300)
    with pytest.raises(UsageError, match="audit_canaries=300 does not go with"):
        config(attack="sign_flip", dp=audited).resolved()


def test_an_attackers_update_that_is_not_finite_is_excluded_as_anybodys():
    found = tff_cnn.train(
        config(
            rounds=1,
            attack=SignFlip(1e30),
            attack_fraction=1.0,
            evaluate_on="test",
        )
    )
    assert [row["clients_excluded"] for row in found.metrics] == [3]
    assert np.isfinite(found.summary["test_loss"])
