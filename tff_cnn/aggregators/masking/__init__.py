"""Secure aggregation by masks: the server sees a sum and nothing else.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
Machine Learning" (CCS), Figure 4, for a server that follows the protocol and is
curious (without the parts in red: signatures and the consistency check). With
it the neighbours of Bell et al. 2020, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead" (CCS): each client masks with, and shares with, k
others instead of all.

    0. AdvertiseKeys: u draws key pairs (c_u, s_u) and sends the public keys.
    1. ShareKeys: u draws b_u, splits s_u^SK and b_u into shares of which t
       restore them, and sends each other v its two, encrypted by KA(c_u, c_v).
    2. MaskedInputCollection: u sends y_u = x_u + PRG(b_u)
       + sum_{v > u} PRG(KA(s_u, s_v)) - sum_{v < u} PRG(KA(s_u, s_v))  mod R.
    3. Unmasking: the server names those whose y it has (U3). Each client sends
       its shares of b_v for v in U3, of s_v^SK for v in U2 without U3, and of
       no v both. The server restores these, and removes
       PRG(b_v) for v in U3, and PRG(KA(s_u, s_v)) for v in U2 without U3.

Whenever fewer than t are left the round is aborted, by clients as by the
server. Below t shares say nothing, so nothing has been revealed then.

    symbol              name
    t                   `threshold`, of so many holders of a client's shares
    R                   `Ring.modulus`
    c_u, s_u, KA        `keys.KeyPair`, `keys.agreed`
    b_u                 `Client._own_seed`
    PRG                 `masks.add`
    U1, U2, U3          who advertised, who shared, who sent a masked vector

For n clients, k neighbours each (n - 1 without a graph) and vectors of m
numbers: a client does k key agreements, O(k t) of sharing and k + 1 expansions
of m numbers, the server, with d dropped, n - d + d k of these. A client sends
O(k) + m numbers, the server keeps one vector. All of 100 clients with 1.7 M
numbers of 32 bits, and 20 dropped: 16 s of one core, 6 s with 30 neighbours
(`experiments.benchmarks.secure_sum`).

All secrets are of the operating system's generator, never of a run's seed.
Everything runs in one process, and what would be a message is bytes: what a
client or the server knows is what it was sent (`messages.Transcript`). Nobody
signs anything, so that a server that lies about who clients are would read
everything, as in the paper's honest-but-curious variant.
"""
