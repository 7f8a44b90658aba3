"""What a training run of a sorter depends on."""

from dataclasses import dataclass

from rankgrad.checks import check_choice, check_positive
from rankgrad.data.sequences import PUBLISHED, distribution
from rankgrad.sorters.registry import architecture

__all__ = ["MANY_LENGTHS", "PRECISIONS", "SorterSettings", "default_lengths"]

MANY_LENGTHS = (5, 10, 30, 100, 300, 1000)
PRECISIONS = ("float32", "tf32", "bfloat16")


def default_lengths(model: str) -> tuple[int, ...]:
    """Return what a sorter is trained on by default: 100, or many lengths where that is the point.

    >>> default_lengths("mlp")
    (100,)
    """
    return MANY_LENGTHS if architecture(model).architecture == "set" else (100,)


@dataclass(frozen=True)
class SorterSettings:
    """The settings of one run; with the seed they fix its result on a given machine.

    Args:
        model: short or readable name of an architecture.
        lengths: of the sequences; more than one only for architectures that take any. A step then
            has sequences of one of them, drawn at random.
        dist: names or numbers of the distributions, see :func:`rankgrad.data.sequences.sequences`.
        scores: a file to train on instead, see :func:`rankgrad.data.sequences.score_file`.
        batch_size: sequences a step; fewer where they are longer than 100 and lengths differ, so
            that a step has no more scores.
        lr: learning rate of Adam.
        lr_step: epochs after which it is halved, again and again.
        epochs: at most so many.
        steps: steps of an epoch; every step sees new sequences.
        patience: stop after so many epochs without a better validation error.
        validation: sequences of each distribution and length to validate on, always the same.
        seed: of weights and sequences.
        precision: "float32", "tf32" (CUDA) or "bfloat16" (autocast).
    """

    model: str = "set"
    lengths: tuple[int, ...] = (100,)
    dist: tuple[str, ...] = PUBLISHED
    scores: str | None = None
    batch_size: int = 256
    lr: float = 1e-3
    lr_step: int = 10
    epochs: int = 60
    steps: int = 100
    patience: int = 30
    validation: int = 50
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        kind = architecture(self.model)
        object.__setattr__(self, "model", kind.architecture)
        if self.model == "exa":
            raise ValueError("model 'exa' has no weights to train")
        check_choice("precision", self.precision, PRECISIONS)
        check_positive("lr", self.lr)
        names = ("batch_size", "lr_step", "epochs", "steps", "patience", "validation")
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lengths or min(self.lengths) < 2:
            raise ValueError(f"lengths must be at least 2 each, got {self.lengths}")
        if len(self.lengths) > 1 and not kind.any_length:
            raise ValueError(f"a sorter {self.model!r} takes one length, got {self.lengths}")
        for name in self.dist:
            distribution(name)

    @property
    def name(self) -> str:
        """What the run is called by default."""
        return f"{self.model}-{self.lengths[0]}" if len(self.lengths) == 1 else self.model

    def rows(self, length: int) -> int:
        """How many sequences of this length are in a step."""
        if len(self.lengths) == 1:
            return self.batch_size
        return max(1, self.batch_size * 100 // max(100, length))
