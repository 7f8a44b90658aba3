"""What a method of imbalanced regression is, as text and as settings.

A method is a loss, perhaps a re-weighting, perhaps smoothed features, any number of terms, and
perhaps a stage of training before or behind::

    mse lds:size=5,sigma=2 fds ranksim:weight=0.1,strength=2
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "LOSSES",
    "ON_FEATURES",
    "TERMS",
    "MethodError",
    "Pretraining",
    "RegressionMethod",
    "Term",
    "describe",
    "parse_method",
    "parse_term",
]

Value = float | int | str
Options = tuple[tuple[str, Value], ...]

# name -> its options with their defaults
LOSSES: dict[str, dict[str, Value]] = {
    "l1": {},
    "mse": {},
    "huber": {"beta": 1.0},
    "focal-l1": {"beta": 0.2, "gamma": 1.0, "activation": "sigmoid"},
    "focal-mse": {"beta": 0.2, "gamma": 1.0, "activation": "sigmoid"},
    "balanced-mse": {"noise": 1.0},
}
_EVERY_TERM: dict[str, Value] = {"weight": 1.0, "start": 0}
TERMS: dict[str, dict[str, Value]] = {
    "ranksim": {
        "weight": 0.1,
        "strength": 2.0,
        "unique": "sample",
        "ranker": "blackbox",
        "reduction": "mean",
        "coupling": "separate",
    },
    # 2 was published, for pre-training; beside a regression loss 1 did better (docs/regression.md)
    "rnc": {"temperature": 1.0},
    "spearman": {"ranker": "sodeep", "form": "mse"},
    "difference": {},
    "correlation": {},
    "concordance": {},
    "kendall": {},
}
# The terms that look at features; the others look at predictions
ON_FEATURES = ("ranksim", "rnc")
_SMOOTHING: dict[str, Value] = {"window": "gaussian", "size": 5, "sigma": 2.0}


class MethodError(ValueError):
    """The text names no method; the message says what there is."""


@dataclass(frozen=True)
class Term:
    """A further loss, with every option it has."""

    name: str
    options: Options

    def __str__(self) -> str:
        return f"{self.name}:" + ",".join(f"{k}={_text(v)}" for k, v in self.options)


@dataclass(frozen=True)
class Pretraining:
    """A first stage, in which Rank-N-Contrast alone trains the encoder (Zha et al., 2023).

    ``freeze``: only the head is trained after it, as published; else both go on together.
    """

    epochs: int
    temperature: float
    freeze: bool

    def __str__(self) -> str:
        freeze = "yes" if self.freeze else "no"
        return f"pretrain:epochs={self.epochs},temperature={self.temperature:g},freeze={freeze}"


@dataclass(frozen=True)
class RegressionMethod:
    """One row of the table."""

    name: str
    loss: str = "mse"
    loss_options: Options = ()
    # "sqrt_inverse" or "inverse": weights by how rare a label is
    reweighting: str | None = None
    # Label-distribution smoothing: window, size and sigma
    lds: Options = ()
    # Feature-distribution smoothing: likewise, and the momentum
    fds: Options = ()
    terms: tuple[Term, ...] = ()
    # Two-stage training (RRT): so many epochs for a new head, re-weighted, on frozen features
    retrain: int = 0
    pretrain: Pretraining | None = None
    # Chosen by tuning; None takes those of the settings
    learning_rate: float | None = None
    weight_decay: float | None = None


def parse_method(name: str, text: str) -> RegressionMethod:
    """Read a method from text.

    Words, in any order: one loss (``l1``, ``mse``, ``huber``, ``focal-l1``, ``focal-mse``,
    ``balanced-mse``; ``mse`` if there is none); ``inverse`` or ``sqrt-inverse``; ``lds``, which
    smooths the counts that the weights come from (``sqrt-inverse`` unless said otherwise);
    ``fds``; ``rrt``; ``pretrain``; and terms. Options follow a colon: ``huber:beta=0.5``.

    Raises:
        MethodError: an unknown word or option, two losses, or words that exclude each other.

    >>> method = parse_method("mine", "l1 lds rnc:weight=0.5")
    >>> method.loss, method.reweighting, str(method.terms[0])
    ('l1', 'sqrt_inverse', 'rnc:weight=0.5,start=0,temperature=1')
    """
    losses: list[tuple[str, Options]] = []
    terms: list[Term] = []
    reweighting: str | None = None
    lds: Options = ()
    fds: Options = ()
    retrain = 0
    pretrain: Pretraining | None = None
    for word in text.split():
        kind, _, _ = word.partition(":")
        if kind in LOSSES:
            losses.append((kind, _options(word, LOSSES[kind])))
        elif kind in ("inverse", "sqrt-inverse") and reweighting is None and kind == word:
            reweighting = kind.replace("-", "_")
        elif kind == "lds":
            lds = _options(word, _SMOOTHING)
        elif kind == "fds":
            fds = _options(word, {**_SMOOTHING, "momentum": 0.9, "start": 1})
        elif kind == "rrt":
            retrain = int(dict(_options(word, {"epochs": 20}))["epochs"])
        elif kind == "pretrain":
            pretrain = _pretraining(word)
        elif kind in TERMS:
            terms.append(parse_term(word))
        else:
            others = ("inverse", "sqrt-inverse", "lds", "fds", "rrt", "pretrain")
            known = [*LOSSES, *others, *TERMS]
            raise MethodError(f"unknown word {word!r} in a method; there are {', '.join(known)}")
    if len(losses) > 1:
        raise MethodError(f"a method has one loss, got {' and '.join(k for k, _ in losses)}")
    if (lds or retrain) and reweighting is None:
        reweighting = "sqrt_inverse"
    loss, options = losses[0] if losses else ("mse", ())
    if loss == "balanced-mse" and reweighting:
        raise MethodError("balanced-mse balances by itself: it takes no weights, lds or rrt")
    idle = [term.name for term in terms if term.name in ON_FEATURES]
    if pretrain is not None and pretrain.freeze and idle:
        raise MethodError(
            f"{' and '.join(idle)} would train features, which stay as they are after pretrain; "
            "pretrain:freeze=no trains them on"
        )
    return RegressionMethod(
        name, loss, options, reweighting, lds, fds, tuple(terms), retrain, pretrain
    )


def _pretraining(word: str) -> Pretraining:
    options = dict(_options(word, {"epochs": 60, "temperature": 2.0, "freeze": "yes"}))
    epochs, freeze = int(options["epochs"]), options["freeze"]
    if epochs < 1:
        raise MethodError(f"epochs of pretrain must be at least 1, got {epochs}")
    if freeze not in ("yes", "no"):
        raise MethodError(f"freeze of pretrain must be yes or no, got {freeze!r}")
    return Pretraining(epochs, float(options["temperature"]), freeze == "yes")


def parse_term(text: str) -> Term:
    """Read one term, such as ``ranksim:weight=0.1,strength=10``.

    Every term has a ``weight`` and a ``start``, the epoch, from 0, in which it sets in.

    Raises:
        MethodError: an unknown term or option.
    """
    kind, _, _ = text.partition(":")
    if kind not in TERMS:
        raise MethodError(f"unknown term {kind!r}; there are {', '.join(TERMS)}")
    return Term(kind, _options(text, {**_EVERY_TERM, **TERMS[kind]}))


def describe(method: RegressionMethod) -> str:
    """Return the text that :func:`parse_method` makes this method from.

    >>> describe(parse_method("mine", "l1 lds"))
    'l1 lds:window=gaussian,size=5,sigma=2'
    """

    def word(kind: str, options: Options) -> str:
        return str(Term(kind, options)) if options else kind

    weighting = (method.reweighting or "").replace("_", "-").replace("sqrt-inverse", "")
    if method.reweighting == "sqrt_inverse" and not (method.lds or method.retrain):
        weighting = "sqrt-inverse"
    words = [
        word(method.loss, method.loss_options),
        weighting,
        word("lds", method.lds) if method.lds else "",
        word("fds", method.fds) if method.fds else "",
        f"rrt:epochs={method.retrain}" if method.retrain else "",
        str(method.pretrain) if method.pretrain is not None else "",
        *map(str, method.terms),
    ]
    return " ".join(filter(None, words))


def _options(word: str, defaults: Mapping[str, Value]) -> Options:
    kind, _, rest = word.partition(":")
    values = dict(defaults)
    for entry in filter(None, rest.split(",")):
        key, _, text = entry.partition("=")
        if key not in defaults:
            there = ", ".join(defaults) or "none"
            raise MethodError(f"{kind} has no option {key!r}; it has {there}")
        default = defaults[key]
        try:
            values[key] = type(default)(text) if text else default
        except ValueError:
            raise MethodError(f"{key} of {kind} must be a number, got {text!r}") from None
    return tuple(values.items())


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
