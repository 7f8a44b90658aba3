"""Errors name the argument, what came and what is taken."""

import json
import math
import subprocess
import sys

import pytest
import torch

from rankgrad import checks

X = torch.zeros(2, 3)


def test_accepts_what_fits() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        checks.check_floating("x", X.to(dtype))
    checks.check_same_shape("x", X, "y", X + 1)
    checks.check_same_device("x", X, "y", X)
    for shape in [(), (1,), (3,), (1, 3), (2, 1), (2, 3)]:
        checks.check_mask("mask", torch.ones(shape, dtype=torch.bool), "x", X)
    checks.check_choice("ties", "min", ("min", "max"))
    assert checks.check_finite_number("n", 3) == 3.0
    assert checks.check_positive("n", 0.5) == 0.5
    assert checks.check_positive("n", 0, zero_allowed=True) == 0.0


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_integers_are_to_be_cast(dtype: torch.dtype) -> None:
    with pytest.raises(
        TypeError, match=rf"scores .* got dtype {dtype}; cast it.*scores\.float\(\)"
    ):
        checks.check_floating("scores", X.to(dtype))


def test_shapes() -> None:
    with pytest.raises(ValueError, match=r"^targets .* logits, \(2, 3\), got \(3,\)$"):
        checks.check_same_shape("targets", X[0], "logits", X)
    # what broadcasts is not the same
    with pytest.raises(ValueError, match="targets"):
        checks.check_same_shape("targets", X[:1], "logits", X)


def test_devices() -> None:
    with pytest.raises(ValueError, match=r"^targets .* device of logits, cpu, got meta$"):
        checks.check_same_device("targets", X.to("meta"), "logits", X)


@pytest.mark.parametrize("shape", [(2,), (3, 3), (1, 2, 3), (0,)])
def test_masks_broadcast_one_way(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^mask must broadcast to .* scores, \(2, 3\), got \("):
        checks.check_mask("mask", torch.ones(shape, dtype=torch.bool), "scores", X)


def test_masks_are_boolean() -> None:
    with pytest.raises(TypeError, match=r"^mask must be a boolean .*, got dtype torch.uint8$"):
        checks.check_mask("mask", torch.ones(2, 3, dtype=torch.uint8), "scores", X)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^delta must be finite, got {value}$"):
        checks.check_finite_number("delta", value)


def test_numbers_are_above_zero() -> None:
    with pytest.raises(ValueError, match=r"^delta must be > 0, got 0$"):
        checks.check_positive("delta", 0)
    with pytest.raises(ValueError, match=r"^delta must be >= 0, got -1$"):
        checks.check_positive("delta", -1, zero_allowed=True)


def test_choices_are_listed() -> None:
    with pytest.raises(ValueError, match=r"^ties must be one of 'min', 'max', got 'mean'$"):
        checks.check_choice("ties", "mean", ("min", "max"))


@pytest.mark.parametrize(
    ("dtypes", "result"),
    [
        ([torch.float16], torch.float32),
        ([torch.bfloat16, torch.float32], torch.float32),
        ([torch.float32, torch.float64], torch.float64),
        ([torch.float64, torch.float16], torch.float64),
    ],
)
def test_half_precision_is_computed_in_single_and_double_in_double(
    dtypes: list[torch.dtype], result: torch.dtype
) -> None:
    assert checks.compute_dtype(*(X.to(dtype) for dtype in dtypes)) == result


# What the public functions say when they are called wrongly: (the call, the error, its message).
# A fresh interpreter makes the calls, as the checks of types in these tests would come first.
CALLS = [
    (
        "rg.rank(x.long())",
        "TypeError",
        "scores must be a floating point tensor, got dtype torch.int64",
    ),
    ("rg.rank([1.0])", "TypeError", "scores must be a torch.Tensor, got list"),
    ("rg.rank(x.sum())", "ValueError", "scores must have at least one dimension, got a scalar"),
    ("rg.rank(x, ties='mean')", "ValueError", "ties must be one of 'ordinal', 'average'"),
    ("rg.rank(x, mask=x)", "TypeError", "mask must be a boolean tensor"),
    ("rg.rank(x, mask=b[:2])", "ValueError", "mask must broadcast to the shape of scores, (4,)"),
    ("rg.argsort(x.long())", "TypeError", "scores must be a floating point tensor"),
    ("rg.sort(x.sum())", "ValueError", "scores must have at least one dimension"),
    ("rg.soft_quantile([1.0], 0.5)", "TypeError", "scores must be a torch.Tensor, got list"),
    (
        "rg.soft_quantile(x, x.to('meta'))",
        "ValueError",
        "q must be on the device of scores, cpu, got meta",
    ),
    (
        "M.match_boxes(x.view(1, 4), x, x.view(1, 4))",
        "ValueError",
        "scores must have the shape [1]",
    ),
    ("M.match_boxes(i[None], x[:1], x[None])", "TypeError", "boxes must be a floating"),
    ("P(x, x, comparison='ramp')", "TypeError", "comparison must be a rankgrad Comparison"),
    ("P(x.long(), x)", "TypeError", "queries must be a floating point tensor"),
    ("P(x, x.long())", "TypeError", "keys must be a floating point tensor"),
    ("P(x, x, x.long())", "TypeError", "weights must be a floating point tensor"),
    ("P(x, x, x[:2])", "ValueError", "weights must have the shape of keys, (4,), got (2,)"),
    (
        "P(x[None], x)",
        "ValueError",
        "keys must have the leading dimensions of queries, (1,), got ()",
    ),
    ("P(x, x.sum())", "ValueError", "queries and keys must have at least one dimension"),
    ("P(x, x.to('meta'))", "ValueError", "keys must be on the device of queries, cpu, got meta"),
    ("P(x, x, mask=x)", "TypeError", "mask must be a boolean tensor"),
    ("P(x, x, segments=x)", "TypeError", "segments must be integer tensors, got torch.float32"),
    ("P(x, x, segments=(i,))", "ValueError", "segments must be one tensor or a pair of tensors"),
    ("P(x, x[:2], segments=i)", "ValueError", "segments of the keys must have the shape of keys"),
    (
        "R(x.long(), x)",
        "TypeError",
        "logits must be a floating point tensor, got dtype torch.int64",
    ),
    ("R(x, [0.0])", "TypeError", "targets must be a torch.Tensor, got list"),
    ("rg.lds_weights([1.0])", "TypeError", "labels must be a torch.Tensor, got list"),
    (
        "rg.imbalance.lds_bin_weights([1, 2])",
        "TypeError",
        "counts must be a torch.Tensor, got list",
    ),
    ("rg.imbalance.label_bins('old', 3)", "TypeError", "labels must be a torch.Tensor, got str"),
    ("R(x, x + 0j)", "TypeError", "targets must be a real tensor, got dtype torch.complex64"),
    ("R(x, x[:2])", "ValueError", "targets must have the shape of logits, (4,), got (2,)"),
    ("R(x, x.to('meta'))", "ValueError", "targets must be on the device of logits, cpu, got meta"),
    ("R(x, x, segments=x)", "TypeError", "segments must be an integer tensor, got torch.float32"),
    ("R(x, x, segments=i + 0j)", "TypeError", "segments must be an integer tensor"),
    ("R(x, x, segments=i[:2])", "ValueError", "segments must have the shape of logits, (4,)"),
    ("R(x, x, delta='wide')", "TypeError", "delta must be a number, got str"),
    ("R(x, x, delta=True)", "TypeError", "delta must be a number, got bool"),
    ("R(x, x, delta=-1.0)", "ValueError", "delta must be >= 0, got -1.0"),
    ("R(x, x, reduction='max')", "ValueError", "reduction must be one of 'mean', 'sum', 'none'"),
    ("R(x, x + 1)", "ValueError", "targets must be at most 1 (the IoU of positives"),
    ("F.ap_loss(x.long(), x)", "TypeError", "logits must be a floating point tensor"),
    ("F.ap_loss(x, x[:2])", "ValueError", "targets must have the shape of logits"),
    ("F.alrp(x, x, i[:1])", "TypeError", "localization must be a floating point tensor"),
    ("F.alrp(x, x, x[None, :1])", "ValueError", "localization must have one dimension, got shape"),
    (
        "F.alrp(x, x, x)",
        "ValueError",
        "localization must have one error for each of the 1 positives",
    ),
    (
        "F.alrp(x, x, x[:1].to('meta'))",
        "ValueError",
        "localization must be on the device of logits",
    ),
    (
        "F.pairwise_difference_loss(x, x, indices=(x, i))",
        "TypeError",
        "indices must be two int64 tensors, got torch.float32 and torch.int64",
    ),
    (
        "F.pairwise_difference_loss(x, x, indices=(i, i[:2]))",
        "ValueError",
        "indices must be two tensors of one length, got (4,) and (2,)",
    ),
    ("rg.Ramp('wide')", "TypeError", "half_width must be a number, got str"),
    ("rg.Logistic(0)", "ValueError", "temperature must be > 0, got 0"),
    ("rg.EpochBalance(steps=2.0)", "ValueError", "steps must be an integer >= 1, got 2.0"),
    ("rg.use_backend('cudnn').__enter__()", "ValueError", "use_backend must be one of 'reference'"),
]


@pytest.fixture(scope="module")
def said() -> list[list[str]]:
    code = (
        "import json, sys, torch\n"
        "import rankgrad as rg, rankgrad.functional as F, rankgrad.metrics as M\n"
        "x = torch.tensor([1.0, 0.5, 0.0, 0.0])\n"
        "b, i = x > 0, torch.zeros(4, dtype=torch.int64)\n"
        "R = F.rank_sort\n"
        "def P(*args, comparison=rg.Ramp(0.5), **more):\n"
        "    return rg.pairwise_sum(*args, comparison=comparison, **more)\n"
        "said = []\n"
        "for call in json.load(sys.stdin):\n"
        "    try:\n"
        "        eval(call)\n"
        "        said.append(['nothing', ''])\n"
        "    except Exception as error:\n"
        "        said.append([type(error).__name__, str(error)])\n"
        "print(json.dumps(said))\n"
    )
    calls = json.dumps([call for call, _, _ in CALLS])
    done = subprocess.run(
        [sys.executable, "-c", code], input=calls, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("at", range(len(CALLS)), ids=[call for call, _, _ in CALLS])
def test_a_wrong_call_is_told_what_is_wrong(said: list[list[str]], at: int) -> None:
    _, kind, message = CALLS[at]
    assert said[at][0] == kind
    assert message in said[at][1]
