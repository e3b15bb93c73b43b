"""What differs between algorithms in a round: a small rule.

`local_training` has the loop that all clients share, `fedavg.build_with` makes
a process of it. An algorithm writes a `LocalRule` in its own file and says no
more than where it differs from FedAvg:

    FedProx   `gradients`: base(step) + mu (w - w_t)
    SCAFFOLD  `initial_extra` c and `initial_kept` c_k; `gradients`: base(step)
              - c_k + c; `result`: (w_t - w, c_k^new - c_k) and c_k^new;
              `server_step` moves c
    FedPer    `shared`: the body; `initial_kept`: the head, put in by `start`;
              `result` keeps it
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.core.weights import Weights

Optimizer = tff.learning.optimizers.Optimizer

# The field of a client's element that holds `Step.in_round`.
IN_ROUND = "in_round"


class Sent(NamedTuple):
    """What the server has, and sends to each client of a cohort.

    Attributes:
      weights: float32 tensors: the server's trainable weights, those that are
        `LocalRule.shared`.
      extra: What the algorithm sends beside them (`LocalRule.initial_extra`,
        and of it `LocalRule.sent_extra`).
    """

    weights: tuple[tf.Tensor, ...]
    extra: Any = ()


class Step(NamedTuple):
    """What a local step's gradient is a function of.

    Attributes:
      weights: float32 tensors: the client's, before the step.
      sent: `Sent`, the same in all steps of a round.
      kept: What the client kept from its last round; the same in all steps.
      images: float32, [batch, height, width, channels]: what the model takes,
        augmented where that is asked for.
      labels: int32, [batch].
      is_real: float32, [batch]: 1, or 0 for padding.
      seed: int64, [2]: of this step alone (`local_training.step_seeds`).
      constant: What `LocalRule.constant` has found.
      in_round: float32, scalar: what the algorithm says of the round, to all
        its clients (`ALGORITHMS`, fact `in_round`); None where it says nothing.
    """

    weights: tuple[tf.Tensor, ...]
    sent: Sent
    kept: Any
    images: tf.Tensor
    labels: tf.Tensor
    is_real: tf.Tensor
    seed: tf.Tensor
    constant: Any = ()
    in_round: tf.Tensor | None = None


# Step -> (gradients, loss, logits): gradients like `step.weights`; loss, a
# scalar, and logits, [batch, classes], are for metrics.
GradientFunction = Callable[[Step], tuple]


class Trained(NamedTuple):
    """A client's local training when it has come to its end.

    Attributes:
      weights: float32 tensors: after the last step.
      sent: As in `Step`.
      kept: As in `Step`.
      num_steps: int32, scalar: steps taken; 0 for a client without examples.
      carry: As the last step left it (`LocalRule.apply`).
    """

    weights: tuple[tf.Tensor, ...]
    sent: Sent
    kept: Any
    num_steps: tf.Tensor
    carry: Any = ()


class Result(NamedTuple):
    """What a client's local training comes to.

    Attributes:
      update: Is subtracted from the weights, as a gradient is.
      kept: For the client's next round.
      num_bytes: int64, scalar: of what is sent; None where that is the update
        as it is, and its weight.
    """

    update: Any
    kept: Any
    num_bytes: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class LocalRule:
    """FedAvg's rule; others override where they differ.

    `start`, `gradients`, `apply` and `result` are pure functions of tensors,
    traced into the client's graph; `server_step` into the server's.
    """

    def shared(self, weights: Weights) -> Weights:
        """Of the model's trainable weights those that the server has."""
        return weights

    def initial_extra(self, weights: Weights) -> Any:
        """What the server has beside the weights before the first round.

        Args:
          weights: The model's initial trainable ones.

        Returns:
          A structure of arrays; () is nothing.
        """
        del weights
        return ()

    def sent_extra(self, extra: Any) -> Any:
        """What of it clients are sent; the rest stays with the server."""
        return extra

    def initial_kept(self, weights: Weights) -> Any:
        """What a client has kept that has not taken part yet.

        Args:
          weights: The model's initial trainable ones.

        Returns:
          A structure of float32 arrays, whose shapes are those of what is kept
          after each round; () is nothing.
        """
        del weights
        return ()

    def start(self, sent: Sent, kept: Any) -> tuple[tf.Tensor, ...]:
        """The weights that local training begins with."""
        del kept
        return sent.weights

    def constant(self, sent: Sent, kept: Any) -> Any:
        """What all steps of a round have in common, computed before them."""
        del sent, kept
        return ()

    def initial_carry(self, optimizer: Optimizer, weights: Any) -> Any:
        """What goes from step to step besides the weights.

        Args:
          optimizer: Of the clients.
          weights: What `start` returns.
        """
        return optimizer.initialize(
            tf.nest.map_structure(
                lambda w: tf.TensorSpec(w.shape, w.dtype), weights
            )
        )

    def gradients(self, base: GradientFunction, step: Step) -> tuple:
        """What a step's optimizer is given.

        Args:
          base: The gradient of the batch's mean loss, or what privacy puts in
            its place (`dp_sgd`). What is added to its result must not read the
            batch, or DP-SGD protects it no more.
          step: Of the client.

        Returns:
          As of a `GradientFunction`.
        """
        return base(step)

    def apply(
        self, optimizer: Optimizer, carry: Any, step: Step, gradients: Any
    ) -> tuple[Any, tuple[tf.Tensor, ...]]:
        """(carry, weights) after a step.

        Args:
          optimizer: Of the clients.
          carry: As the step before left it, or `initial_carry`.
          step: Of the client.
          gradients: From `gradients`.
        """
        return optimizer.next(carry, step.weights, gradients)

    def result(self, trained: Trained) -> tuple[Any, Any]:
        """A `Result`, or the first two of its values."""
        update = tf.nest.map_structure(
            tf.subtract, trained.sent.weights, trained.weights
        )
        return update, ()

    def server_step(
        self, server: Sent, aggregate: Any, num_clients: tf.Tensor
    ) -> tuple[Any, Any]:
        """(what the server optimizer gets as gradient, new `extra`).

        Args:
          server: What the server has; that was sent in this round.
          aggregate: Of the clients' updates, of their structure; zeros where
            there were none.
          num_clients: float32, scalar: how many updates it is made of.
        """
        del num_clients
        return aggregate, server.extra

    def model(self, server: Sent, initial: Weights) -> Weights:
        """All trainable weights of the model that the server has.

        Args:
          server: What it has, as arrays.
          initial: The model's initial trainable weights.
        """
        del initial
        return server.weights

    def personal_model(self, server: Sent, kept: Any) -> Weights:
        """All trainable weights of the model that a client has for itself.

        Args:
          server: What the server has, as arrays.
          kept: By the client, as arrays.
        """
        del kept
        return server.weights

    @property
    def has_personal_models(self) -> bool:
        """Whether a client's model is another than the server's."""
        return type(self).personal_model is not LocalRule.personal_model

    def is_plain(self, weights: Weights) -> bool:
        """Whether TFF's four slots have all that the rule needs.

        Args:
          weights: The model's initial trainable ones.
        """
        kept = self.initial_kept(weights), self.initial_extra(weights)
        return not tf.nest.flatten(kept) and not any(
            getattr(type(self), name) is not getattr(LocalRule, name)
            for name in ("shared", "server_step", "model", "personal_model")
        )


def corrected(
    gradients: Any, step: Step, pull: float = 0.0
) -> tuple[tf.Tensor, ...]:
    """g + b + pull w, for each variable: what most rules do to gradients.

    A large model's weights do not fit into a cache, and at small batches each
    pass over them is felt (`experiments.benchmarks.algorithm_speed`): hence one
    `b` for all that a round does not change, and one sum.

    Args:
      gradients: g, of the step's weights.
      step: Whose `constant` are b, tensors like `weights`.
      pull: Of the weights w; 0 leaves them out.
    """

    def add(g, b, w):
        terms = [g, b, pull * w] if pull else [g, b]
        return tf.add_n(terms)

    return tf.nest.map_structure(
        add, tuple(gradients), tuple(step.constant), tuple(step.weights)
    )
