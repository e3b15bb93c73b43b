"""What a client's update tells of the image that it was trained on.

tff_cnn.leak(RunConfig("mnist", model="wong_kolter_cnn"))

A client takes one local step on one image, with the model as it is before the
first round; an adversary who sees what the server sees inverts it
(`evaluation.inversion`). Four adversaries are compared, by what reaches them:

    plain    the client's update
    clipped  the same, clipped as <dp>=fixed_clip has it
    noised   the same with the noise that the sum over a cohort gets: of one
             who knows what all other clients have sent, which is what
             differential privacy stands up to
    secure   the mean of the updates of a cohort, of whom each has one image:
             what secure aggregation without noise shows; the reconstruction is
             compared with the image of the cohort that it is most like

How well an image is found is its PSNR in dB, of pixels in [0, 1]: above 20 it
is easily recognized. A bad reconstruction is no proof of anything: a stronger
adversary may find more.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tff_cnn.algorithms import OPTIMIZERS
from tff_cnn.config import RunConfig
from tff_cnn.core import pictures, registry
from tff_cnn.core.errors import UsageError
from tff_cnn.data import SOURCES
from tff_cnn.models import MODELS
from tff_cnn.privacy import (
    EXAMPLE_MECHANISMS,
    LOCAL_RANDOMIZERS,
    MECHANISMS,
    FixedClip,
)

if TYPE_CHECKING:  # They take a moment.
    import numpy as np
    from matplotlib.figure import Figure

PLAIN, CLIPPED, NOISED, SECURE = "plain", "clipped", "noised", "secure"


@dataclasses.dataclass(frozen=True, eq=False)
class Leak:
    """One reconstruction.

    Attributes:
      view: Whose it is, see the module.
      client: Whose update was inverted.
      label: Of its image.
      inferred: What the adversary takes for the label.
      original: float32, [height, width, channels], in [0, 1].
      found: Of the same shape.
      psnr: In dB.
    """

    view: str
    client: int
    label: int
    inferred: int
    original: "np.ndarray"
    found: "np.ndarray"
    psnr: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Leakage:
    """Reconstructions of some clients' images, by each adversary.

    As a text it is a table.

    Attributes:
      title: Data, model and how it was inverted.
      leaks: All reconstructions.
    """

    title: str
    leaks: Sequence[Leak]

    @property
    def views(self) -> list[str]:
        """The adversaries, in their order."""
        return list(dict.fromkeys(leak.view for leak in self.leaks))

    def psnr(self, view: str) -> float:
        """Median over clients, in dB."""
        return statistics.median(
            leak.psnr for leak in self.leaks if leak.view == view
        )

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """View -> its PSNR, those of all clients, and labels found."""
        found = {}
        for view in self.views:
            own = [leak for leak in self.leaks if leak.view == view]
            found[view] = {
                "median_psnr": self.psnr(view),
                "psnr": {leak.client: leak.psnr for leak in own},
                "labels_found": sum(x.label == x.inferred for x in own),
            }
        return found

    def __repr__(self) -> str:
        lines = [self.title, "", "  view      PSNR (median)   labels found"]
        for view, found in self.figures.items():
            labels = f"{found['labels_found']} of {len(found['psnr'])}"
            lines.append(
                f"  {view:<8}  {found['median_psnr']:9.1f} dB   {labels}"
            )
        return "\n".join(lines)

    def figure(self) -> "Figure":
        """The originals beside what each adversary has found."""
        clients = list(dict.fromkeys(leak.client for leak in self.leaks))
        views = self.views
        drawn = pictures.new(1.5 * (1 + len(views)), 1.75 * len(clients) + 0.5)
        axes = drawn.subplots(
            len(clients),
            1 + len(views),
            squeeze=False,
            sharex=True,
            sharey=True,
        )
        for row, client in zip(axes, clients, strict=True):
            own = {x.view: x for x in self.leaks if x.client == client}
            first = own[views[0]]
            _image(row[0], first.original, f"client {client}: {first.label}")
            for place, view in zip(row[1:], views, strict=True):
                leak = own[view]
                _image(place, leak.found, f"{view}: {leak.psnr:.1f} dB")
        drawn.suptitle(self.title, fontsize=8)
        return drawn

    def show(self) -> "Figure | None":
        """Shows it in a notebook; elsewhere returns the figure."""
        return pictures.show(self.figure())


def _image(place: Any, image: "np.ndarray", title: str) -> None:
    is_grey = image.shape[-1] == 1
    place.imshow(
        image[..., 0] if is_grey else image, cmap="gray", vmin=0, vmax=1
    )
    place.set_title(title, fontsize=8)
    place.set_axis_off()


def leak(
    config: RunConfig,
    num_clients: int = 3,
    method: str = "cosine_similarity",
    steps: int = 1200,
    restarts: int = 1,
    cohort: int = 10,
    after_step: Callable[[], None] = lambda: None,
) -> Leakage:
    """Inverts what clients of a run would send in its first round.

    Args:
      config: Data, model, local optimizer, seed; and with <dp>=fixed_clip its
        clip and noise.
      num_clients: Whose updates are inverted: the first ones with an image.
      method: Of `evaluation.inversion.METHODS`.
      steps: See `inversion.invert`.
      restarts: See `inversion.invert`.
      cohort: Clients whose updates a secure sum hides one another in, >= 2.
      after_step: Called after each step of an inversion.

    Raises:
      UsageError: Data that is not there, a model that cannot be inverted, or
        another mechanism.
    """
    # Imported here: TensorFlow takes seconds, mistakes should not.
    from tff_cnn.evaluation import inversion
    from tff_cnn.training import assembly

    config = config.resolved()
    _check(config, method, cohort)
    adversary = _Adversary(assembly.build(config))
    leaks = []
    for number, seen in enumerate(adversary.views(num_clients, cohort)):
        found = inversion.invert(
            adversary.gradient,
            adversary.as_gradient(seen.target),
            seen.victim.image.shape,
            method,
            seed=config.seed + number,
            steps=steps,
            restarts=restarts,
            after_step=after_step,
        )
        leaks.append(seen.leak(found))
    data = SOURCES.entry_of(config.dataset).name
    model = MODELS.entry_of(config.model).name
    title = f"{data} from updates of {model}: {method}, {steps} steps"
    return Leakage(title, leaks)


def num_inversions(config: RunConfig, num_clients: int) -> int:
    """Inversions that `leak` makes, each of `restarts` x `steps` steps."""
    return num_clients * (2 if config.dp is None else 4)


def _check(config: RunConfig, method: str, cohort: int) -> None:
    from tff_cnn.evaluation import inversion

    if method not in inversion.METHODS:
        raise UsageError(
            registry.unknown_name("method", method, inversion.METHODS)
        )
    if cohort < 2:
        raise UsageError(
            f"a cohort of {cohort} hides nobody: use 2 clients or more."
        )
    for choice, entries in (
        ("local_randomizer", LOCAL_RANDOMIZERS),
        ("example_dp", EXAMPLE_MECHANISMS),
    ):
        options = getattr(config, choice)
        if options is not None:
            raise UsageError(
                f"<{choice}>={entries.entry_of(options).name} would be "
                "ignored: of noise that clients add themselves no adversary is "
                f"looked at; use <{choice}>=none."
            )
    if config.dp is not None and not isinstance(config.dp, FixedClip):
        name = MECHANISMS.entry_of(config.dp).name
        raise UsageError(
            f"<dp>={name} cannot be looked at: use <dp>=fixed_clip, or none."
        )


class _Victim(NamedTuple):
    """A client with its one image.

    Attributes:
      client: Its id.
      image: float32, [height, width, channels], in [0, 1].
      label: Of it.
      update: What it sends: w_t - w, float32, one for each variable.
    """

    client: int
    image: "np.ndarray"
    label: int
    update: "list[np.ndarray]"


class _Seen(NamedTuple):
    """What an adversary has.

    Attributes:
      view: Its name.
      victim: Whose image it is after.
      target: What it inverts, float32, one for each variable.
      candidates: Whose images may be in it.
    """

    view: str
    victim: _Victim
    target: "list[np.ndarray]"
    candidates: Sequence[_Victim]

    def leak(self, found: Any) -> Leak:
        """What an inversion has brought."""
        from tff_cnn.evaluation.inversion import psnr

        image = found.images[0]
        likeness = {c.client: psnr(image, c.image) for c in self.candidates}
        nearest = max(self.candidates, key=lambda c: likeness[c.client])
        return Leak(
            self.view,
            self.victim.client,
            nearest.label,
            int(found.labels[0]),
            self.victim.image,
            image,
            likeness[nearest.client],
        )


class _Adversary:
    """Who sees updates of a run's first round."""

    def __init__(self, run: Any):
        """Args:
        run: `training.assembly.Run`.
        """
        import tensorflow as tf

        self._run = run
        self._model = run.task.model
        self._optimizer = OPTIMIZERS.build(run.config.client_optimizer)
        losses = run.task.objective.example_losses

        @tf.function
        def gradient(images, labels):
            with tf.GradientTape() as tape:
                logits = self._model(images, training=False)
                loss = tf.reduce_mean(losses(logits, labels))
            return tape.gradient(loss, self._model.trainable_variables)

        self.gradient = gradient

    def views(self, num_clients: int, cohort: int) -> Iterator[_Seen]:
        """What is seen of each client, by each adversary.

        Raises:
          UsageError: Fewer clients have an image.
        """
        needed = max(num_clients, cohort)
        victims = list(itertools.islice(self._victims(), needed))
        if len(victims) < needed:
            raise UsageError(
                f"{len(victims)} clients have an image, and {needed} are "
                "looked at: use more clients, or look at fewer."
            )
        for number, victim in enumerate(victims[:num_clients]):
            yield _Seen(PLAIN, victim, victim.update, [victim])
            if self._run.central is not None:
                clipped, noised = self._privately(victim.update, number)
                yield _Seen(CLIPPED, victim, clipped, [victim])
                yield _Seen(NOISED, victim, noised, [victim])
            others = [v for v in victims if v is not victim][: cohort - 1]
            hidden = [victim, *others]
            mean = [
                sum(parts) / cohort
                for parts in zip(*(v.update for v in hidden), strict=True)
            ]
            yield _Seen(SECURE, victim, mean, hidden)

    def as_gradient(self, update: "list[np.ndarray]") -> "list[np.ndarray]":
        """The gradient that a step at the clients' learning rate was made of.

        Of an optimizer that has one, and is stochastic gradient descent.
        """
        from tff_cnn.algorithms import schedules

        rate = 1.0
        if schedules.has_rate(self._optimizer):
            (rate,) = schedules.rates(self._optimizer, [1.0])
        return [part / rate for part in update]

    def _victims(self) -> Iterator[_Victim]:
        import numpy as np
        import tensorflow as tf

        task, optimizer = self._run.task, self._optimizer
        weights = [v.value() for v in self._model.trainable_variables]
        specs = [tf.TensorSpec(w.shape, w.dtype) for w in weights]
        for client in range(len(task.clients)):
            if not task.clients.num_examples(client):
                continue
            example = task.clients[client].take(np.array([0]))
            images = task.prepare(tf.constant(example.images))
            gradient = self.gradient(images, tf.constant(example.labels))
            _, after = optimizer.next(
                optimizer.initialize(specs), weights, gradient
            )
            yield _Victim(
                client,
                images[0].numpy(),
                int(example.labels[0]),
                [(w - a).numpy() for w, a in zip(weights, after, strict=True)],
            )

    def _privately(self, update: list, number: int) -> tuple[list, list]:
        """An update clipped, and clipped with the noise of a sum."""
        import numpy as np

        from tff_cnn.aggregators import clipping

        mechanism = self._run.central.mechanism
        clipped, _ = clipping.clip(list(update), mechanism.clip_norm)
        clipped = [np.asarray(part) for part in clipped]
        # Of the mean, whose sum has it so many times.
        stddev = mechanism.noise_stddev() * mechanism.expected_cohort
        rng = np.random.default_rng([self._run.config.seed, number])
        noised = [
            part + rng.normal(0, stddev, part.shape).astype(np.float32)
            for part in clipped
        ]
        return clipped, noised
