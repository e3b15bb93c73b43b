"""NumPy FedMD, line by line after Li & Wang 2019, Algorithm 1.

The models are softmax regression, on images of which each kind of model sees
so many pixels: `kinds` are slices of them. Scores are logits; the digest
minimizes their mean absolute error.
"""

import dataclasses

import numpy as np

from tests.reference import fedavg


@dataclasses.dataclass(eq=False)
class Party:
    """A party: its model f_k, and its private data D_k.

    Attributes:
      pixels: Which of the pixels its model looks at: a slice.
      weights: Of its model; changed by each phase.
      images: [n, pixels of an image].
      labels: [n].
      has_begun: Whether the transfer learning is behind it.
    """

    pixels: slice
    weights: list
    images: np.ndarray
    labels: np.ndarray
    has_begun: bool = False

    def fit(self, images, labels, batches, rate):
        for batch in batches:
            gradient = fedavg.softmax_gradient(
                self.weights, images[batch][:, self.pixels], labels[batch]
            )
            self._descend(gradient, rate)

    def scores(self, images):
        kernel, bias = self.weights
        return images[:, self.pixels] @ kernel + bias

    def approach(self, images, consensus, batches, rate):
        for batch in batches:
            signs = np.sign(self.scores(images[batch]) - consensus[batch])
            signs /= signs.size  # Of the mean over examples and classes.
            seen = images[batch][:, self.pixels]
            self._descend([seen.T @ signs, signs.sum(axis=0)], rate)

    def _descend(self, gradient, rate):
        self.weights = [
            w - rate * g for w, g in zip(self.weights, gradient, strict=True)
        ]


def one_round(parties, student, public, labels, subset, batches, rate):
    """One round of those parties, and of the server's student.

    Args:
      parties: Of the cohort.
      student: One without private data.
      public: Images of D_0, [n, pixels].
      labels: Of D_0.
      subset: Which of them are d_j.
      batches: (party, phase) -> index arrays; phases are "public", "private"
        and "digest".
      rate: Of gradient descent.
    """
    everybody = [*parties, student]
    for party in everybody:
        if not party.has_begun:
            # Transfer learning: on the public D_0, then on its private D_k
            party.fit(public, labels, batches(party, "public"), rate)
            private = batches(party, "private")
            party.fit(party.images, party.labels, private, rate)
            party.has_begun = True
    # Communicate: each party computes f_k(x_i^0), x_i^0 in d_j
    scores = [party.scores(public[subset]) for party in parties]
    # Aggregate: the server computes the consensus, their average
    consensus = np.mean(scores, axis=0)
    # Distribute: each party downloads it
    for party in everybody:
        # Digest: each party trains f_k to approach the consensus
        digest = batches(party, "digest")
        party.approach(public[subset], consensus, digest, rate)
        # Revisit: each party trains f_k on its own private data
        private = batches(party, "private")
        party.fit(party.images, party.labels, private, rate)
