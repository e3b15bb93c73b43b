"""What a model is worth to a client that goes on training it for itself.

Personalization by fine-tuning (Wang et al. 2019, "Federated Evaluation of
On-device Personalization"): each client takes a model, trains it on its own
training examples, and measures it on those that it holds out. Nothing of this
goes back to the server.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tff_cnn.core.weights import Weights
from tff_cnn.data.examples import ClientExamples
from tff_cnn.evaluation.federated import ClientMetrics, FederatedEvaluation

# (clients, the weights that each of them begins with) -> those it ends with.
Train = Callable[[Sequence[int], Sequence[Weights]], Sequence[Weights]]


def evaluate_fine_tuned(
    evaluation: FederatedEvaluation,
    held_out: ClientExamples,
    weights: Weights | Callable[[int], Weights],
    train: Train,
    at_once: int = 32,
) -> ClientMetrics:
    """What each client measures after local training.

    Args:
      evaluation: Measures weights.
      held_out: Of each client the examples that it is measured on; one that
        has none is not trained.
      weights: That training begins with, the same for all clients or a
        function of the client.
      train: Trains some clients.
      at_once: Clients whose models are in memory at a time; does not change
        the result.
    """
    num_clients = len(held_out)
    sizes = np.array([held_out.num_examples(c) for c in range(num_clients)])
    examples = sizes.astype(np.int64)
    accuracy, loss = np.full((2, num_clients), np.nan)
    judged = np.flatnonzero(examples)
    for start in range(0, len(judged), at_once):
        group = judged[start : start + at_once].tolist()
        given = [weights(c) if callable(weights) else weights for c in group]
        trained = dict(zip(group, train(group, given), strict=True))
        found = evaluation(held_out, trained.__getitem__, group)
        accuracy[group], loss[group] = found.accuracy, found.loss
    return ClientMetrics(examples, accuracy, loss)
