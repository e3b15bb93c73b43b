"""What a round is: one step of the server, whatever it is made of.

A **round** is one release by the server: new weights that somebody may see. It
is what the privacy ledger counts, what metrics.jsonl has a row for and what a
checkpoint holds. A synchronous process makes one of every cohort; a
hierarchical one of several rounds of its edges, a buffered one of every so many
updates that have arrived.

`training.loop` runs rounds over an `Engine` and knows no more of them than is
said here. `training.engines` has the engines.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # NumPy takes a moment, and mistakes are answered at once.
    from tff_cnn.core.weights import Weights

Row = dict[str, Any]


class Work(NamedTuple):
    """What a round needs besides the state.

    Attributes:
      number: Of the round, from 1.
      cohort: Ids of the clients that take part, one entry for each update; or
        of candidates, of whom the step takes some (`training.narrowing`).
      data: What the engine's `step` makes of it.
    """

    number: int
    cohort: Sequence[int]
    data: Any


class Measured(NamedTuple):
    """What became of a private round's updates: NOT PRIVATE, before noise.

    Attributes:
      num_clients: That sent an update.
      num_clipped: Of these, those whose update was clipped.
      sum_norm: L2 norm of the sum of clipped updates.
    """

    num_clients: float
    num_clipped: float
    sum_norm: float


class StepResult(NamedTuple):
    """What a round ends with.

    Attributes:
      state: After it; a new one.
      row: Its metrics, numbers or None: `cohort_size` and `clients_excluded`,
        which are int; `train_loss` and `train_accuracy`, None where they are
        means over no examples; under an adaptive clip `next_clip_norm`; and
        whatever else the engine has to tell, as `examples`, `bytes_down` and
        `bytes_up` where they do not follow from cohort and model, and
        `simulated_seconds` and `simulated_time` where it has a clock.
      measured: None where updates are not measured.
      cohort: Who took part, where only the step decides that; None is that of
        the plan.
    """

    state: Any
    row: Row
    measured: Measured | None = None
    cohort: Sequence[int] | None = None


class Engine(Protocol):
    """A process, of whatever kind, as the loop sees it.

    A state is a structure of numbers, arrays, byte strings and `ClientStates`
    (`tf.nest`), and holds all that a run goes on from: with the same state and
    the same round the next one is the same, to the bit, in this process or in
    another.

    An engine whose clients have models of their own also has
    `personal_weights(state, client)`; one whose clients may have none says by
    `has_personal_models` whether they do. Where these models are not all of the
    task's kind, `personal_model(client)` is a Keras model of the client's kind,
    the same object for all clients of that kind.
    """

    def initialize(self) -> Any:
        """The state before round 1; also the template of a checkpoint."""
        ...

    def plan(self, number: int) -> Work:
        """What round `number` needs; a pure function of the number.

        It has no state to look at: the loop calls it on another thread while
        the round before is still being computed.
        """
        ...

    def step(self, state: Any, work: Work) -> StepResult:
        """Computes a round.

        Pure: `state` stays as it is, and nothing is left behind elsewhere. The
        loop may drop the result, as if the round had never been.
        """
        ...

    def weights(self, state: Any) -> "Weights":
        """The trainable weights that the server has released with `state`."""
        ...
