import pytest

from rankgrad.recipes.regression.method import (
    MethodError,
    Pretraining,
    describe,
    parse_method,
    parse_term,
)
from rankgrad.recipes.regression.methods import METHODS, chosen
from rankgrad.recipes.regression.presets import PRESETS


def test_a_method_as_text() -> None:
    method = parse_method(
        "mine", "huber:beta=0.5 lds:size=9 fds ranksim:weight=0.2,strength=10 difference rrt"
    )
    assert method.loss == "huber"
    assert dict(method.loss_options) == {"beta": 0.5}
    assert method.reweighting == "sqrt_inverse"
    assert dict(method.lds) == {"window": "gaussian", "size": 9, "sigma": 2.0}
    assert dict(method.fds)["momentum"] == 0.9
    assert [term.name for term in method.terms] == ["ranksim", "difference"]
    options = dict(method.terms[0].options)
    assert (options["weight"], options["strength"], options["unique"]) == (0.2, 10.0, "sample")
    assert method.retrain == 20


def test_pre_training_as_text() -> None:
    method = parse_method("mine", "l1 pretrain:epochs=5,freeze=no rnc")
    assert method.pretrain == Pretraining(epochs=5, temperature=2.0, freeze=False)
    assert describe(method).startswith("l1 pretrain:epochs=5,temperature=2,freeze=no rnc:")
    assert parse_method("mine", "mse").pretrain is None


@pytest.mark.parametrize("text", [*METHODS.values(), *(p["method"] for p in PRESETS.values())])
def test_description_and_text_say_the_same(text: str) -> None:
    method = parse_method("x", text)
    assert parse_method("x", describe(method)) == method


def test_no_word_is_the_plain_squared_error() -> None:
    assert parse_method("x", "") == parse_method("x", "mse")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("msee", "unknown word 'msee'"),
        ("l1 mse", "one loss, got l1 and mse"),
        ("huber:gamma=1", "huber has no option 'gamma'; it has beta"),
        ("ranksim:weight=much", "weight of ranksim must be a number, got 'much'"),
        ("mse:beta=1", "it has none"),
        ("balanced-mse lds", "takes no weights"),
        ("inverse sqrt-inverse", "unknown word"),
        ("pretrain:epochs=0", "epochs of pretrain must be at least 1, got 0"),
        ("pretrain:freeze=maybe", "freeze of pretrain must be yes or no, got 'maybe'"),
        ("pretrain rnc ranksim", "rnc and ranksim would train features"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        parse_method("x", text)


def test_terms_and_names() -> None:
    assert str(parse_term("rnc:weight=3")) == "rnc:weight=3,start=0,temperature=1"
    with pytest.raises(MethodError, match="unknown term 'mse'"):
        parse_term("mse")
    methods = chosen(["lds + rnc", "MSE"], ["Mine=l1 rnc"])
    assert [m.name for m in methods] == ["LDS + RnC", "MSE", "Mine"]
    with pytest.raises(MethodError, match="unknown method 'LSD'"):
        chosen(["LSD"])
    with pytest.raises(MethodError, match="NAME=TEXT"):
        chosen([], ["mse"])
