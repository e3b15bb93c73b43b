"""Hierarchical federated averaging: clients, edges, a cloud.

Liu, Zhang, Song & Letaief 2020, "Client-Edge-Cloud Hierarchical Federated
Learning", Algorithm 1 (HierFAVG), with a server optimizer at the cloud. Edge l
has the clients C^l; of them those take part that the run's cohort has. A round
is one cloud aggregation:

    1. the cloud sends w to the edges
    2. kappa_2 times, edge l with its own w^l, which is w at first:
       a. client i of C^l takes kappa_1 local steps from w^l, giving w_i
       b. w^l = sum_i a_i w_i / sum_i a_i             (EdgeAggregation)
    3. delta = sum_l A_l (w - w^l) / sum_l A_l        (CloudAggregation)
    4. w = server_optimizer(w, gradient = delta)

    symbol   name
    L        num_edges
    kappa_1  kappa1: of each client; None is its local epochs
    kappa_2  kappa2: 1 is FedAvg over all clients
    a_i      weighting: |D_i|, examples trained on, or 1
    A_l      sum of a_i over the edge's clients: |D^l|; of those alone whom its
             aggregator has not left out, by zeroing

The paper counts K local steps and asks at each whether kappa_1, and whether
kappa_1 kappa_2, divides its number; here that is loops in one another
(`training.engines.hierarchical`). Step 2 is FedAvg's own process, one for all
edges; steps 3 and 4 are a process whose clients are edges.
"""

import collections
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow_federated as tff

from tff_cnn.aggregators import bounds
from tff_cnn.algorithms import fedavg
from tff_cnn.algorithms.local_training import Parts
from tff_cnn.selection.edges import Edges

_WEIGHT = tff.TensorType(np.float32)


class CloudState(NamedTuple):
    """What the cloud goes on from.

    Attributes:
      global_model_weights: `tff.learning.models.ModelWeights`.
      finalizer: State of the server optimizer.
    """

    global_model_weights: Any
    finalizer: Any


@dataclasses.dataclass(frozen=True)
class HierarchicalProcess:
    """The processes of which a round is made.

    Attributes:
      edge: FedAvg with plain averaging. Of its metrics, `aggregator` is the sum
        of its clients' weights, and those in `train` are (sum, number of
        examples), for the cloud to divide.
      cloud: `next(CloudState, models, weights)`, with one model (like the
        trainable weights) and one weight (A_l) of each edge, returns the next
        `CloudState`.
      edges: Which clients each edge has.
      kappa1: Local steps between two edge aggregations; None is `Batching`'s.
      kappa2: Edge aggregations in a round.
    """

    edge: tff.learning.templates.LearningProcess
    cloud: tff.templates.IterativeProcess
    edges: Edges
    kappa1: int | None
    kappa2: int


class _Weighed(tff.aggregators.WeightedAggregationFactory):
    """An aggregation that measures what its clients weigh together."""

    def __init__(self, factory: tff.aggregators.WeightedAggregationFactory):
        self._factory = factory

    def create(self, value_type, weight_type):
        inner = self._factory.create(value_type, weight_type)

        @tff.federated_computation(
            inner.initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state, value, weight):
            output = inner.next(state, value, weight)
            return tff.templates.MeasuredProcessOutput(
                output.state, output.result, tff.federated_sum(weight)
            )

        return tff.templates.AggregationProcess(inner.initialize, next_fn)


class _Summing:
    """A model whose metrics stay sums."""

    def __init__(self, model: Any):
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def finalize_metrics(self, state: Any) -> Any:
        return collections.OrderedDict(state)


def _build_edge(parts: Parts) -> tff.learning.templates.LearningProcess:
    """Step 2: FedAvg whose server replaces its weights by the mean."""
    return fedavg.build_fedavg(
        dataclasses.replace(
            parts,
            model=_Summing(parts.model),
            # A client that a bound leaves out has no weight at the cloud.
            aggregator=bounds.behind(parts.aggregator, _Weighed),
            server_optimizer=tff.learning.optimizers.build_sgdm(1.0),
        )
    )


def _build_cloud(
    parts: Parts, weights_type: tff.StructType
) -> tff.templates.IterativeProcess:
    """Steps 3 and 4; see `HierarchicalProcess.cloud`."""
    model_type = weights_type.trainable
    mean = tff.aggregators.MeanFactory(no_nan_division=True).create(
        model_type, _WEIGHT
    )
    finalizer = tff.learning.templates.build_apply_optimizer_finalizer(
        parts.server_optimizer, weights_type
    )
    initial, non_trainable = parts.model.initial_weights

    @tff.tensorflow.computation
    def initial_weights():
        return tff.learning.models.ModelWeights(initial, non_trainable)

    @tff.tensorflow.computation(weights_type, model_type)
    def moved(weights, model):
        return tuple(
            w - w_l for w, w_l in zip(weights.trainable, model, strict=True)
        )

    @tff.federated_computation
    def initialize():
        return tff.federated_zip(
            CloudState(
                tff.federated_eval(initial_weights, tff.SERVER),
                finalizer.initialize(),
            )
        )

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(model_type, tff.CLIENTS),
        tff.FederatedType(_WEIGHT, tff.CLIENTS),
    )
    def next_fn(state, models, weights):
        sent = tff.federated_broadcast(state.global_model_weights)
        delta = mean.next(  # Step 3.
            mean.initialize(), tff.federated_map(moved, (sent, models)), weights
        )
        finalized = finalizer.next(  # Step 4.
            state.finalizer, state.global_model_weights, delta.result
        )
        return tff.federated_zip(CloudState(finalized.result, finalized.state))

    return tff.templates.IterativeProcess(initialize, next_fn)


def build_hierarchical(
    parts: Parts, num_edges: int, kappa1: int | None, kappa2: int, edges: str
) -> HierarchicalProcess:
    """Builds the processes.

    Args:
      parts: All that FedAvg has: `aggregator` and `weighting` are of step 2,
        `server_optimizer` is of step 4.
      num_edges: L, >= 1 and at most the clients.
      kappa1: >= 1, or None.
      kappa2: >= 1.
      edges: How clients come to edges: see `selection.edges.Edges`.
    """
    edge = _build_edge(parts)
    weights_type = edge.initialize.type_signature.result.member
    cloud = _build_cloud(parts, weights_type.global_model_weights)
    return HierarchicalProcess(
        edge, cloud, Edges(num_edges, edges), kappa1, kappa2
    )
