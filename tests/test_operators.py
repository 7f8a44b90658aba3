"""Registered operators called with and without the dispatcher: the same results either way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from rankgrad import dispatching
from rankgrad.operators import operator, shaped


@operator("test_scaled_cube")
def cube(x: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Return ``scale x^3``, and how many there are."""
    assert isinstance(scale, float)
    flat = x.reshape(-1)
    out = flat * flat * flat * scale
    if mask is not None:
        out = torch.where(mask.reshape(-1), out, 0.0)
    return shaped(out, x.shape), torch.tensor([x.numel()])


@cube.register_fake
def _(x: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty(1, dtype=torch.int64)


@operator("test_scaled_cube_vjp")
def cube_vjp(grad: Tensor, x: Tensor, scale: float) -> Tensor:
    """Return the gradient."""
    return grad * 3 * scale * x * x


@cube_vjp.register_fake
def _(grad: Tensor, x: Tensor, scale: float) -> Tensor:
    return torch.empty_like(x)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.scale = inputs[2]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[0])


def _backward(ctx, grad, _count):  # type: ignore[no-untyped-def]
    (x,) = ctx.saved_tensors
    return cube_vjp(grad, x, ctx.scale), None, None


def _vmap(info, in_dims, x, mask, scale):  # type: ignore[no-untyped-def]
    out, count = cube(x, mask, scale)
    return (out, count.expand(info.batch_size, 1).clone()), (in_dims[0], 0)


cube.register_autograd(_backward, setup_context=_setup)
cube.register_vmap(_vmap)

X = torch.tensor([[1.0, -2.0], [0.5, 3.0]])


@pytest.fixture
def no_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("went through the dispatcher")

    for op in (cube, cube_vjp):
        monkeypatch.setattr(op, "_overload", refuse)


@pytest.fixture
def only_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("went around the dispatcher")

    for op in (cube, cube_vjp):
        monkeypatch.setattr(op, "_differentiated", refuse)


def check(x: Tensor) -> None:
    leaf = x.requires_grad_()
    out, count = cube(leaf, None, 2.0)
    torch.testing.assert_close(out.detach(), 2 * X**3)
    assert int(count) == 4
    assert not count.requires_grad
    out.sum().backward()
    torch.testing.assert_close(leaf.grad, 6 * X**2)
    with torch.no_grad():
        assert not cube(leaf, None, 2.0)[0].requires_grad
    masked = cube(leaf, leaf > 0, 2.0)[0]
    torch.testing.assert_close(masked.detach(), torch.where(X > 0, 2 * X**3, 0.0))


@pytest.mark.usefixtures("no_dispatcher")
@pytest.mark.parametrize("make", [Tensor.clone, torch.nn.Parameter, lambda x: x.t().clone().t()])
def test_plain_tensors_need_no_dispatcher(make: Callable[[Tensor], Tensor]) -> None:
    check(make(X))


@pytest.mark.usefixtures("only_dispatcher")
def test_the_dispatcher_does_the_same() -> None:
    with profile(activities=[ProfilerActivity.CPU]):
        check(X.clone())


def test_a_profile_shows_operators_by_name() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        cube(X, None, 1.0)
    assert "rankgrad::test_scaled_cube" in {event.key for event in seen.key_averages()}


def test_results_may_be_changed_in_place() -> None:
    leaf = X.clone().requires_grad_()
    out, _ = cube(leaf, None, 1.0)
    out.mul_(2)
    out.sum().backward()
    torch.testing.assert_close(leaf.grad, 6 * X**2)


def test_an_integer_becomes_the_float_that_is_declared() -> None:
    torch.testing.assert_close(cube(X, None, 2)[0], 2 * X**3)


def test_second_derivatives_are_refused() -> None:
    leaf = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cube(leaf, None, 1.0)[0].sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        slope.sum().backward()


def test_vmap_and_fakes_meet_their_rules() -> None:
    out, count = torch.func.vmap(lambda x: cube(x, None, 1.0))(X)
    torch.testing.assert_close(out, X**3)
    assert count.shape == (2, 1)
    with FakeTensorMode():
        assert cube(torch.empty(5, 2), None, 1.0)[0].shape == (5, 2)
    assert cube(torch.empty(5, 2, device="meta"), None, 1.0)[0].is_meta


@pytest.mark.usefixtures("only_dispatcher")
def test_modes_see_the_operator() -> None:
    seen: list[str] = []

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    class Called(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    for mode in (Dispatched, Called):
        seen.clear()
        with mode():
            cube(X, None, 1.0)
        assert "rankgrad.test_scaled_cube.default" in seen


def test_subclasses_and_inference_come_through() -> None:
    class Named(Tensor):
        pass

    assert isinstance(cube(X.clone().as_subclass(Named), None, 1.0)[0], Tensor)
    with torch.inference_mode():
        torch.testing.assert_close(cube(X.clone(), None, 1.0)[0], X**3)
    turned = torch.complex(torch.zeros(2, 2), X).conj().imag  # carries a sign to be resolved
    assert turned.is_neg()
    torch.testing.assert_close(cube(turned, None, 1.0)[0], -(X**3))


def test_shapes_are_given_back() -> None:
    assert shaped(X, torch.Size([4])).shape == (4,)
    assert shaped(X, X.shape) is X


def test_a_torch_that_is_not_known_goes_through_the_dispatcher(
    monkeypatch: pytest.MonkeyPatch, only_dispatcher: None
) -> None:
    monkeypatch.setattr(dispatching, "_KNOWN", False)
    check(X.clone())
