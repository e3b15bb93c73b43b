import dataclasses
import json
import pathlib

import numpy as np
import pytest

import tff_cnn
from tests.run_test import config, two_layers
from tff_cnn.algorithms import update_attacks
from tff_cnn.core.errors import UsageError
from tff_cnn.data.preprocessing import Batching
from tff_cnn.evaluation.attacks import Backdoor, LabelFlip, SignFlip
from tff_cnn.evaluation.attacks.attack import Attack
from tff_cnn.models import objectives
from tff_cnn.privacy import DistributedSkellam
from tff_cnn.training import assembly, attacked, diagnostics, summary
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


def test_an_attack_by_nobody_is_asked_for_or_refused():
    for fraction, clients in ((0.004, 100), (0.1, 5), (1e-9, 6)):
        options = config(attack="sign_flip", attack_fraction=fraction)
        told = f"attack_fraction={fraction} of {clients} clients is nobody"
        with pytest.raises(UsageError, match=told):
            attacked.attackers(options, clients)


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
        config(rounds=1, attack=SignFlip(1e30), attack_fraction=1.0)
    )
    assert [row["clients_excluded"] for row in found.metrics] == [3]
    assert np.isfinite(found.summary["test_loss"])


BACKDOOR = Backdoor(backdoor_share=1.0, backdoor_rounds="2-")


@pytest.fixture(scope="module")
def backdoored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked") / "run"
    options = config(
        rounds=3,
        eval_every=2,
        client_epochs=5,
        attack=BACKDOOR,
        attack_fraction=1.0,
    )
    return tff_cnn.train(options, folder)


def test_rows_tell_who_attacks_and_with_what_success(backdoored):
    rows = backdoored.metrics
    # In the first round they are honest.
    assert [row["attackers"] for row in rows] == [0, 3, 3]
    rates = [row["test_backdoor_success"] for row in rows]
    assert rates[0] is None and 0 <= rates[1] <= 1
    # All that they are trained on is the trigger: nothing else is left to say.
    assert rates[2] == 1.0
    assert backdoored.summary["test_backdoor_success"] == 1.0


def test_the_summary_tells_who_attacked(backdoored):
    assert backdoored.summary["attack"] == {
        "name": "backdoor",
        "num_clients": 6,
        "attackers": [0, 1, 2, 3, 4, 5],
    }
    text = summary.render(backdoored.summary)
    assert "backdoor by 6 of 6 clients; backdoor success 100.00%" in text
    assert summary.measured(backdoored.summary)["backdoor success"] == 1.0


def test_the_attack_is_in_what_the_run_is_known_by(backdoored):
    folder = pathlib.Path(backdoored.run_dir)
    flags = json.loads((folder / "config.json").read_text())["flags"]
    assert flags["attack"] == "backdoor" and flags["attack_fraction"] == 1
    assert flags["backdoor_rounds"] == "2-"


def test_nobody_who_attacks_is_a_run_without_an_attack():
    honest = tff_cnn.train(config(rounds=2))
    found = tff_cnn.train(config(rounds=2, attack="alie", attack_fraction=0.0))
    for one, other in zip(
        found.model.get_weights(), honest.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert [row["attackers"] for row in found.metrics] == [0, 0]
    assert found.summary["attack"]["attackers"] == []


def test_how_many_attack_is_not_private():
    assert diagnostics.is_not_private({"epsilon": 1.0}, "attackers")


def test_a_success_that_nothing_can_tell_is_refused():
    task = attacked.attacked(
        build_task(CONFIG), dataclasses.replace(CONFIG, attack=LabelFlip(0, 1))
    )
    nothing = task.evaluation.take(np.flatnonzero(task.evaluation.labels))
    task = dataclasses.replace(task, evaluation=nothing)
    with pytest.raises(UsageError, match="attack=label_flip is for examples"):
        task.evaluation_of_success()


def test_several_labels_an_image_are_not_flipped():
    task = dataclasses.replace(
        build_task(CONFIG), objective=objectives.of((4,), 4, 4)
    )
    for name in ("label_flip", "backdoor"):
        options = dataclasses.replace(CONFIG, attack=name)
        with pytest.raises(UsageError, match=f"attack={name} is on the one"):
            attacked.attacked(task, options)
    assert attacked.attacked(task, CONFIG).attackers


@pytest.mark.parametrize(
    ("algorithm", "attack"),
    [("scaffold", "alie"), ("fedper", "backdoor"), ("mime_lite", "ipm")],
)
def test_what_is_sent_beside_or_instead_of_weights_is_attacked(
    algorithm, attack
):
    found = tff_cnn.train(
        config(
            rounds=1,
            model=two_layers,
            algorithm=algorithm,
            attack=attack,
            attack_fraction=0.5,
            sampling="full",
            clients_per_round=6,
        )
    )
    assert [row["attackers"] for row in found.metrics] == [3]
    assert found.summary["clients_excluded"] == 0
    assert np.isfinite(found.summary["test_loss"])


def test_shared_noise_bounds_what_attackers_send(monkeypatch):
    """Each of six moves the mean by a sixth of the clip in either direction."""
    clip_norm = 1.0  # Longer than honest updates are.
    given = config(
        model=two_layers,
        dp=DistributedSkellam(noise_multiplier=0.01, clip_norm=clip_norm),
        attack=SignFlip(attack_scale=1e6),
        attack_fraction=0.5,
        sampling="full",
        clients_per_round=6,
    )
    run = assembly.build(given.resolved())
    moved = []
    with tff_cnn.runtime.use("in_process", threads=1):
        engine = run.engine()
        state, work = engine.initialize(), engine.plan(1)
        for attacks in (True, False):
            for (element,) in work.data:
                element["attacker"] *= attacks
            after = engine.step(state, work).state
            pairs = zip(
                engine.weights(state), engine.weights(after), strict=True
            )
            moved.append(np.concatenate([np.ravel(b - a) for a, b in pairs]))
    noise = run.central.mechanism.noise_stddev() * moved[0].size ** 0.5
    distance = np.linalg.norm(moved[0] - moved[1])
    # Of three, who turn round; and noise of two rounds.
    assert clip_norm / 6 < distance <= 3 * 2 * clip_norm / 6 + 3 * noise
    # Those who attack add their shares of noise, and are counted as anybody.
    monkeypatch.setattr(assembly, "_build_process", lambda *parts: parts)
    honest = dataclasses.replace(given, attack=None, attack_fraction=0.1)
    assert assembly.build(honest.resolved()).central.mechanism == (
        run.central.mechanism
    )
