"""The engine: weighted sums of comparisons over pairs, against the double loop."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg

pytestmark = pytest.mark.usefixtures("backend")

COMPARISONS: list[rg.Comparison] = [
    rg.Step(),
    rg.Step(tie=0.0),
    rg.Step(tie=1.0),
    rg.Ramp(0.5),
    rg.Logistic(0.3),
    rg.Laplace(0.3),
    rg.Normal(0.3),
    rg.Cauchy(0.3),
]
SMOOTH = COMPARISONS[4:]
KINDS = [rg.Ramp, rg.Logistic, rg.Laplace, rg.Normal, rg.Cauchy]


def brute_force(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    comparison: rg.Comparison,
    cotangent: Tensor,
    counts: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums and the gradients for queries, keys and weights, by the matrix of all pairs.

    ``counts[i, j]`` says whether the pair counts at all. Equal infinities are ties.
    """
    keys, queries = k.detach().double()[None, :], q.detach().double()[:, None]
    x = torch.where(keys == queries, 0.0, keys - queries)
    h, slope = comparison.value(x), comparison.derivative(x)
    if counts is not None:
        h, slope = h.where(counts, 0.0), slope.where(counts, 0.0)
    weights = torch.ones(len(k)).double() if w is None else w.detach().double()
    steep = cotangent[:, None] * slope * weights
    return h @ weights, -steep.sum(1), steep.sum(0), cotangent @ h


def check(
    q: Tensor,
    k: Tensor,
    w: Tensor | None,
    comparison: rg.Comparison,
    segments: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
    rtol: float = 2e-6,
) -> None:
    """Compare sums and all gradients with brute force."""
    cotangent = torch.linspace(-1, 2, len(q), dtype=torch.float64)
    counts = torch.ones(len(q), len(k), dtype=torch.bool)
    if segments is not None:
        counts &= segments[0][:, None] == segments[1][None, :]
    if mask is not None:
        counts &= mask[None, :]
    expected = brute_force(q, k, w, comparison, cotangent, counts)
    inputs = [x.clone().requires_grad_() for x in (q, k, *(() if w is None else (w,)))]
    out = rg.pairwise_sum(*inputs, comparison=comparison, segments=segments, mask=mask)
    grads = torch.autograd.grad(out, inputs, cotangent.to(out.dtype), materialize_grads=True)
    assert out.dtype == q.dtype
    for got, want in zip((out, *grads), expected, strict=False):
        scale = max(1.0, 1 / comparison.scale) * max(1, len(k))
        torch.testing.assert_close(got.double(), want, rtol=rtol, atol=rtol * scale)


GRID = st.integers(-4, 4).map(lambda i: i / 4)
EDGES = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, math.inf])
HUGE = st.sampled_from([-1e30, -1.0, 0.0, 0.25, 1e30, 1.0000001e30])
TINY = st.integers(-3, 3).map(lambda i: i * 1e-30)
NORMAL = st.floats(-3, 3, width=32)
SCORES = st.sampled_from([GRID, EDGES, HUGE, TINY, NORMAL])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None]:
    """Queries, keys and weights of one precision."""
    scores = draw(SCORES)
    q, k = draw(st.lists(scores, max_size=8)), draw(st.lists(scores, max_size=8))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    w = torch.linspace(-0.5, 1, len(k), dtype=dtype) if draw(st.booleans()) else None
    return torch.tensor(q, dtype=dtype), torch.tensor(k, dtype=dtype), w


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@given(problem=problems())
def test_is_the_sum_over_pairs(
    comparison: rg.Comparison, problem: tuple[Tensor, Tensor, Tensor | None]
) -> None:
    check(*problem, comparison)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 0.5, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_width(kind: type, scale: float, dtype: torch.dtype) -> None:
    scores = torch.tensor([-2.0, -0.5, -0.5, 0.0, 1e-6, 0.25, 1.5, 1.5, 1.5, 7.0], dtype=dtype)
    check(scores[::2], scores, scores.flip(0) / 8, kind(scale))


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@given(problem=problems(), data=st.data())
def test_only_pairs_of_one_segment_and_of_valid_keys_count(
    comparison: rg.Comparison, problem: tuple[Tensor, Tensor, Tensor | None], data: st.DataObject
) -> None:
    """Ids may be negative, far apart, or so large that float64 cannot tell them apart."""
    q, k, w = problem
    ids = st.sampled_from([-5, 0, 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
    of_q, of_k = (
        torch.tensor(data.draw(st.lists(ids, min_size=len(x), max_size=len(x))), dtype=torch.int64)
        for x in (q, k)
    )
    flags = data.draw(st.none() | st.lists(st.booleans(), min_size=len(k), max_size=len(k)))
    mask = None if flags is None else torch.tensor(flags, dtype=torch.bool)
    check(q, k, w, comparison, segments=(of_q, of_k), mask=mask)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_masked_keys_do_not_count(comparison: rg.Comparison) -> None:
    q, k = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).unbind()
    k[::4] = q[::4]
    check(q, k, None, comparison, mask=torch.arange(9) % 3 > 0)
    check(q, k, k.exp(), comparison, mask=torch.zeros(9, dtype=torch.bool))


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_long_lists(comparison: rg.Comparison, backend: str) -> None:
    """Long enough for every shortcut; checked on a few queries."""
    n = 20_000 if backend == "numba" else 2_000
    generator = torch.Generator().manual_seed(0)
    q, k, w = torch.randn(3, n, generator=generator, dtype=torch.float64)
    k[::7] = q[::7]
    q.requires_grad_()
    k.requires_grad_()
    w.requires_grad_()
    cotangent = torch.randn(q.shape, generator=generator, dtype=torch.float64)
    out = rg.pairwise_sum(q, k, w, comparison=comparison)
    grad_q, grad_k, grad_w = torch.autograd.grad(out, (q, k, w), cotangent, materialize_grads=True)
    for i in (0, 7, n - 1):
        ahead, behind = k - q[i], k[i] - q
        value = (w * comparison.value(ahead)).sum()
        slope = (w * comparison.derivative(ahead)).sum()
        torch.testing.assert_close(out[i], value, rtol=1e-11, atol=1e-9)
        torch.testing.assert_close(grad_q[i], -cotangent[i] * slope, rtol=1e-9, atol=1e-8)
        slope = (cotangent * comparison.derivative(behind)).sum()
        torch.testing.assert_close(grad_k[i], w[i] * slope, rtol=1e-9, atol=1e-8)
        value = (cotangent * comparison.value(behind)).sum()
        torch.testing.assert_close(grad_w[i], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_queries_that_are_the_keys(comparison: rg.Comparison) -> None:
    """The same tensor on both sides: sorted once, and both gradients add up."""
    s = torch.tensor([0.1, -0.3, 0.1, 2.0, 0.4], dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([1, 1, 0, 1, 0])
    others = torch.tensor([0, 1, 0, 1, 1])  # one tensor, but asked for in other segments
    cotangent = torch.linspace(-1, 2, 5, dtype=torch.float64)
    for segments, of_k in ((None, ids), (ids, ids), ((ids, others), others)):
        counts = None if segments is None else ids[:, None] == of_k[None, :]
        value, grad_q, grad_k, _ = brute_force(s, s, None, comparison, cotangent, counts)
        out = rg.pairwise_sum(s, s, comparison=comparison, segments=segments)
        (grad,) = torch.autograd.grad(out, s, cotangent, materialize_grads=True)
        torch.testing.assert_close(out.detach(), value)
        torch.testing.assert_close(grad, grad_q + grad_k)


@pytest.mark.parametrize("comparison", SMOOTH, ids=str)
def test_gradcheck(comparison: rg.Comparison) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    k, w = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64).unbind()
    mask = torch.tensor([True, True, False, True])
    ids = (torch.tensor([[0, 1, 1], [0, 0, 1]]), torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1]]))

    def f(*args: Tensor) -> Tensor:
        return rg.pairwise_sum(*args, comparison=comparison, mask=mask, segments=ids)

    assert torch.autograd.gradcheck(f, (q, k.requires_grad_(), w.requires_grad_()))
    assert torch.autograd.gradcheck(lambda s: rg.pairwise_sum(s, s, comparison=comparison), q)


def test_gradcheck_of_the_ramp_between_its_kinks() -> None:
    q = torch.tensor([0.0, 0.3, 1.1], dtype=torch.float64, requires_grad=True)
    k = torch.tensor([-0.21, 0.43, 0.92, 5.0], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    assert ((k[None, :] - q[:, None]).abs() - 0.5).abs().min() > 1e-2
    assert torch.autograd.gradcheck(
        lambda *args: rg.pairwise_sum(*args, comparison=rg.Ramp(0.5)), (q, k, w)
    )


def test_only_the_gradients_that_are_asked_for() -> None:
    q, k, w = (torch.randn(4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for i in range(3):
        inputs = [x.clone().requires_grad_(j == i) for j, x in enumerate((q, k, w))]
        all_of_them = [x.clone().requires_grad_() for x in (q, k, w)]
        rg.pairwise_sum(*inputs, comparison=rg.Logistic()).sum().backward()
        rg.pairwise_sum(*all_of_them, comparison=rg.Logistic()).sum().backward()
        assert [x.grad is not None for x in inputs] == [j == i for j in range(3)]
        torch.testing.assert_close(inputs[i].grad, all_of_them[i].grad)


def test_has_first_derivatives_and_says_so() -> None:
    s = torch.randn(4, requires_grad=True)
    out = rg.pairwise_sum(s, s, comparison=rg.Logistic())
    (grad,) = torch.autograd.grad(out.square().sum(), s, create_graph=True)
    with pytest.raises(RuntimeError, match="pairwise_sum_backward"):
        grad.sum().backward()


def exact_ramp(q: list[float], k: list[float], half_width: float) -> list[float]:
    """Sums of the ramp in rational arithmetic."""
    width, half = 2 * Fraction(half_width), Fraction(1, 2)
    return [
        float(sum(min(max((Fraction(b) - Fraction(a)) / width + half, 0), 1) for b in k)) for a in q
    ]


@pytest.mark.parametrize("offset", [0.0, 1e6, -1e9])
@pytest.mark.parametrize("half_width", [1e-3, 0.5])
def test_large_scores_cost_no_digits(offset: float, half_width: float) -> None:
    """Near 1e6 a running sum of scores would leave 1e-3 no digits."""
    generator = torch.Generator().manual_seed(0)
    k = offset + torch.randn(300, generator=generator, dtype=torch.float64) * half_width
    out = rg.pairwise_sum(k[:20], k, comparison=rg.Ramp(half_width))
    expected = exact_ramp(k[:20].tolist(), k.tolist(), half_width)
    # What is left is how well the ends of the ramp can be told apart at all.
    tolerance = max(1e-12, 1e-15 * abs(offset) / half_width)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(out, wanted, rtol=tolerance, atol=0)


def exact_sums(
    q: list[float], k: list[float], w: list[float], comparison: rg.Comparison
) -> tuple[list[float], list[float]]:
    """Sums and slopes without the errors of adding up, and of 1 less what is near 1."""
    values, slopes = [], []
    for x in q:
        z = [min(max((key - x) / comparison.scale, -1e150), 1e150) for key in k]
        if isinstance(comparison, rg.Logistic):
            tails = [math.exp(-abs(v)) for v in z]
            h = [(1.0 if v > 0 else e) / (1 + e) for v, e in zip(z, tails, strict=True)]
            d = [e / (1 + e) ** 2 for e in tails]
        elif isinstance(comparison, rg.Normal):
            h = [0.5 * math.erfc(-v / math.sqrt(2)) for v in z]
            d = [math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi) for v in z]
        else:
            h = [0.5 + math.atan(v) / math.pi for v in z]
            d = [1 / (math.pi * (1 + v * v)) for v in z]
        values.append(math.fsum(a * b for a, b in zip(w, h, strict=True)))
        slopes.append(math.fsum(a * b for a, b in zip(w, d, strict=True)) / comparison.scale)
    return values, slopes


@pytest.mark.parametrize("kind", [rg.Logistic, rg.Normal, rg.Cauchy])
@pytest.mark.parametrize("n", [7, 40, 600])
@pytest.mark.parametrize(
    ("spread", "offset", "temperature"),
    [
        (1.0, 0.0, 0.1),  # dense cells
        (1.0, 0.0, 20.0),  # one cell
        (1.0, 1e6, 0.5),  # large scores, close together
        (1e3, 0.0, 1.5),  # further apart than powers from one origin reach
        (1e300, 0.0, 1.0),
        (1.0, 0.0, 1e-300),
    ],
)
def test_smooth_sums_are_exact_to_the_last_digits(
    kind: type, n: int, spread: float, offset: float, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(n)
    q, k, w = torch.randn(3, n, generator=generator, dtype=torch.float64)
    q, k, w = offset + spread * q, offset + spread * k, w.abs()
    k[::5] = q[::5]
    comparison = kind(temperature)
    q.requires_grad_()
    out = rg.pairwise_sum(q, k, w, comparison=comparison)
    (grad,) = torch.autograd.grad(out.sum(), q)
    some = slice(None, None, n // 6)
    value, slope = exact_sums(q[some].tolist(), k.tolist(), w.tolist(), comparison)
    # Points between the scores can be told apart no better than scores can.
    close = (3e-15 + 2e-16 * offset / temperature) * w.sum().item()
    wanted = torch.tensor(value, dtype=torch.float64)
    torch.testing.assert_close(out.detach()[some], wanted, rtol=0, atol=close)
    wanted = -torch.tensor(slope, dtype=torch.float64)
    torch.testing.assert_close(grad[some], wanted, rtol=1e-14, atol=close / temperature)


def test_far_away_keys_cost_no_digits() -> None:
    """Padding with the lowest number there is must not disturb the rest."""
    k = torch.linspace(-1, 1, 101, dtype=torch.float64)
    padded = torch.cat((k, torch.full_like(k, torch.finfo(k.dtype).min)))
    for comparison in COMPARISONS:
        alone = rg.pairwise_sum(k, k, comparison=comparison)
        torch.testing.assert_close(rg.pairwise_sum(k, padded, comparison=comparison), alone)


def test_a_million_small_weights_add_up() -> None:
    k = torch.zeros(1_000_000)
    w = torch.full_like(k, 0.1)
    for comparison in (rg.Step(), rg.Ramp(0.5), rg.Laplace(1.0)):
        out = rg.pairwise_sum(torch.tensor([-10.0, 10.0]), k, w, comparison=comparison)
        expected = 0.1 * 1e6 * comparison.value(torch.tensor([10.0, -10.0]))
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@pytest.mark.parametrize("segments", [False, True])
def test_nan_spoils_only_the_gradients_that_count_it(
    comparison: rg.Comparison, segments: bool
) -> None:
    q = torch.tensor([[0.0, torch.nan, 1.0], [0.0, 0.5, 1.0]], requires_grad=True)
    k = torch.tensor([[0.5, 2.0, 3.0], [0.5, torch.nan, 1.0]], requires_grad=True)
    w = torch.ones(2, 3, requires_grad=True)
    ids = torch.tensor([0, 0, 1]).expand(2, 3)
    out = rg.pairwise_sum(q, k, w, comparison=comparison, segments=(ids, ids) if segments else None)
    of_q, of_k, of_w = torch.autograd.grad(out.sum(), (q, k, w))
    beside = not segments  # whether the third of a row has to do with the others
    assert of_q.isnan().tolist() == [[False, True, False], [True, True, beside]]
    assert of_k.isnan().tolist() == [[True, True, beside], [False, True, False]]
    assert of_w.isnan().tolist() == of_k.isnan().tolist()


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_nan_spoils_only_the_sums_that_count_it(comparison: rg.Comparison) -> None:
    q = torch.tensor([[0.0, torch.nan, 1.0], [0.0, 0.5, 1.0]])
    k = torch.tensor([[0.5, 2.0], [0.5, torch.nan]])
    out = rg.pairwise_sum(q, k, comparison=comparison)
    assert out.isnan().tolist() == [[False, True, False], [True, True, True]]
    out = rg.pairwise_sum(q, k, comparison=comparison, mask=~k.isnan())
    assert out.isnan().tolist() == [[False, True, False], [False, False, False]]
    ids = (torch.tensor([[0, 1, 1], [0, 1, 1]]), torch.tensor([[0, 1], [0, 1]]))
    out = rg.pairwise_sum(q, k, comparison=comparison, segments=ids)
    assert out.isnan().tolist() == [[False, True, False], [False, True, True]]


def test_masked_keys_have_no_gradient_whatever_they_hold() -> None:
    q = torch.zeros(2, requires_grad=True)
    k = torch.tensor([0.1, torch.nan, torch.inf], requires_grad=True)
    w = torch.tensor([1.0, torch.inf, torch.nan], requires_grad=True)
    mask = torch.tensor([True, False, False])
    rg.pairwise_sum(q, k, w, comparison=rg.Logistic(), mask=mask).sum().backward()
    for grad in (q.grad, k.grad, w.grad):
        assert grad is not None
        assert grad.isfinite().all()
    assert not k.grad[1:].any()
    assert not w.grad[1:].any()


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_batch_is_row_by_row(comparison: rg.Comparison) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 4, generator=generator)
    k, w = torch.randn(2, 2, 3, 5, generator=generator).unbind()
    ids = torch.randint(2, (2, 3, 4), generator=generator), torch.randint(2, (2, 3, 5))
    out = rg.pairwise_sum(q, k, w, comparison=comparison, segments=ids)
    for i in range(2):
        for j in range(3):
            row = rg.pairwise_sum(
                q[i, j],
                k[i, j],
                w[i, j],
                comparison=comparison,
                segments=(ids[0][i, j], ids[1][i, j]),
            )
            torch.testing.assert_close(out[i, j], row)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_any_strides(comparison: rg.Comparison) -> None:
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for x in (base.T, base[::2, ::3], base[:1].expand(4, 8), base[:, :1].expand(6, 9)):
        leaf, copy = x.detach().requires_grad_(), x.detach().clone().requires_grad_()
        out = rg.pairwise_sum(leaf, leaf, leaf, comparison=comparison)
        expected = rg.pairwise_sum(copy, copy, copy, comparison=comparison)
        torch.testing.assert_close(out, expected)
        # an expanded cotangent as well
        out.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(leaf.grad, copy.grad)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@pytest.mark.parametrize(("n_q", "n_k"), [(0, 0), (0, 3), (3, 0)])
def test_empty(comparison: rg.Comparison, n_q: int, n_k: int) -> None:
    for batch in [(), (2,), (0,)]:
        q = torch.zeros(*batch, n_q, requires_grad=True)
        k = torch.zeros(*batch, n_k, requires_grad=True)
        w = torch.ones(*batch, n_k, requires_grad=True)
        ids = torch.zeros(*batch, n_q).long(), torch.zeros(*batch, n_k).long()
        for segments in (None, ids):
            out = rg.pairwise_sum(q, k, w, comparison=comparison, segments=segments)
            assert out.shape == q.shape
            assert not out.any()
            out.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("comparison", [rg.Ramp(0.5), rg.Logistic(0.3)], ids=str)
def test_half_precision_is_computed_in_single(
    dtype: torch.dtype, comparison: rg.Comparison
) -> None:
    half = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype)
    single = half.float().requires_grad_()
    half.requires_grad_()
    out = rg.pairwise_sum(half, half, comparison=comparison)
    exact = rg.pairwise_sum(single, single, comparison=comparison)
    assert out.dtype == dtype
    assert torch.equal(out, exact.to(dtype))
    weights = torch.linspace(0, 1, 500)
    (out.float() * weights).sum().backward()
    (exact * weights.to(dtype).float()).sum().backward()
    assert half.grad is not None
    assert single.grad is not None
    assert half.grad.dtype == dtype
    # "same tensor twice" adds two rounded gradients
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=0.05, atol=0.3)


def test_one_float64_input_makes_all_of_it_float64_inside() -> None:
    q, k = torch.tensor([0.1]), torch.tensor([0.1000000001], dtype=torch.float64)
    exact = rg.pairwise_sum(q.double(), k, comparison=rg.Ramp(1e-8))
    out = rg.pairwise_sum(q, k, comparison=rg.Ramp(1e-8))
    assert out.dtype == torch.float32
    assert torch.equal(out, exact.float())


def test_vmap() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, w = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64).unbind()
    ids = torch.randint(2, (2, 4, 5), generator=generator)
    for comparison in (rg.Ramp(0.5), rg.Logistic(0.3)):

        def row(*args: Tensor, comparison: rg.Comparison = comparison) -> Tensor:
            return rg.pairwise_sum(*args[:3], comparison=comparison, segments=args[3])

        expected = row(q, k, w, ids)
        twice = torch.func.vmap(torch.func.vmap(row))(q, k, w, ids)
        torch.testing.assert_close(twice, expected)
        shared = torch.func.vmap(row, in_dims=(0, None, None, None))(q, k[0], w[0], ids[0])
        torch.testing.assert_close(shared[1], row(q[1], k[0], w[0], ids[0]))
        last = torch.func.vmap(row, in_dims=2, out_dims=2)(*(x.mT for x in (q, k, w, ids)))
        assert last.shape == (2, 5, 4)


def test_gradients_through_vmap() -> None:
    s = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for comparison in (rg.Ramp(0.5), rg.Logistic(0.3)):

        def score(row: Tensor, comparison: rg.Comparison = comparison) -> Tensor:
            return rg.pairwise_sum(row, row, row, comparison=comparison).square().sum()

        rows, batch = s.clone().requires_grad_(), s.clone().requires_grad_()
        torch.stack([score(row) for row in rows]).sum().backward()
        torch.func.vmap(score)(batch).sum().backward()
        torch.testing.assert_close(batch.grad, rows.grad)


def test_many_cotangents_at_once() -> None:
    s = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = s.exp().requires_grad_()
    s.requires_grad_()
    out = rg.pairwise_sum(s, s, w, comparison=rg.Logistic(0.3))
    many = torch.eye(10, dtype=torch.float64).view(10, 2, 5)
    together = torch.autograd.grad(out, (s, w), many, retain_graph=True, is_grads_batched=True)
    for i in range(10):
        alone = torch.autograd.grad(out, (s, w), many[i], retain_graph=True)
        torch.testing.assert_close([g[i] for g in together], list(alone))


def test_a_second_derivative_is_refused() -> None:
    s = torch.randn(5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(
        rg.pairwise_sum(s, s.detach(), comparison=rg.Logistic()).square().sum(),
        s,
        create_graph=True,
    )
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        grad.sum().backward()


def test_torch_checks_the_operator() -> None:
    s = torch.randn(2, 5, requires_grad=True)
    ids = torch.randint(2, (2, 5))
    for segments in (None, ids):
        args = (s, s.detach(), s, segments, segments, False, "ramp", 0.5, 0.5, True)
        torch.library.opcheck(torch.ops.rankgrad.pairwise_sum, args)
