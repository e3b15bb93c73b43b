"""The vocabulary of attacks has no code of its own but names."""

from tff_cnn.core.update_attacks import Attacker, Known


def test_what_is_known_has_names():
    known = Known((), 1.0, 3.0, 2.0, 0.5)
    assert (known.count, known.num_clients, known.num_attackers) == (1, 3, 2)
    assert known.share == 0.5
    assert Attacker(1.0, [1, 2], 4.0).round_num == 4
