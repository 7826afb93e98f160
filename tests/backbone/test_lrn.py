"""Local response normalisation against the paper's formula in float64, and against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from decaf.backbone.lrn import local_response_norm


def formula(a, size, k, alpha, beta):
    """Section 3.3 of the paper, in float64, one channel at a time."""
    a = np.asarray(a, dtype=np.float64)
    count, half = a.shape[1], size // 2
    b = np.empty_like(a)
    for i in range(count):
        energy = (a[:, max(0, i - half) : min(count - 1, i + half) + 1] ** 2).sum(axis=1)
        b[:, i] = a[:, i] / (k + alpha * energy) ** beta
    return b


def activations(*shape, seed=0, scale=40.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator).relu()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", [(2, 96, 55, 55), (3, 256, 27, 27), (1, 3, 5, 4), (2, 1, 3, 3)])
def test_agrees_with_the_formula(shape, layout):
    x = activations(*shape).to(memory_format=layout)
    before = x.clone()
    got = local_response_norm(x, 5, 2.0, 1e-4, 0.75)
    np.testing.assert_allclose(got, formula(x, 5, 2.0, 1e-4, 0.75), rtol=1e-6, atol=0)
    assert torch.equal(x, before)
    assert got.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=30, deadline=None)
@given(
    size=st.sampled_from([1, 3, 5, 9]),
    channels=st.integers(1, 12),
    k=st.floats(0.5, 4),
    alpha=st.floats(0, 0.1),
    beta=st.sampled_from([0.5, 0.75, 1.0, 0.0]),
    recording=st.booleans(),
)
def test_agrees_with_the_formula_at_any_constants(size, channels, k, alpha, beta, recording):
    x = activations(2, channels, 3, 4, seed=channels, scale=3.0).requires_grad_(recording)
    got = local_response_norm(x, size, k, alpha, beta).detach()
    np.testing.assert_allclose(got, formula(x.detach(), size, k, alpha, beta), rtol=3e-6, atol=0)


def test_torch_divides_alpha_by_the_size():
    x = activations(1, 16, 6, 6)
    torchs = functional.local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(local_response_norm(x, 5, 2.0, 1e-4, 0.75), torchs)


def test_may_overwrite_its_input():
    x = activations(2, 16, 70, 70).to(memory_format=torch.channels_last)
    expected = local_response_norm(x)
    assert local_response_norm(x, out=x) is x
    assert torch.equal(x, expected)


def test_half_precision_is_computed_in_float32():
    x = activations(2, 96, 9, 9).to(torch.bfloat16, memory_format=torch.channels_last)
    got = local_response_norm(x)
    assert got.dtype == torch.bfloat16
    exact = formula(x.float(), 5, 2.0, 1e-4, 0.75)
    # Within the rounding of the result alone: 8 bits.
    np.testing.assert_allclose(got.float(), exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("size", "channels", "beta"), [(5, 7, 0.75), (5, 7, 1.0), (9, 3, 0.5), (1, 2, 0.75), (3, 4, 0)]
)
def test_the_gradient_is_right(layout, size, channels, beta):
    x = activations(2, channels, 2, 3, scale=2.0).double().to(memory_format=layout)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: local_response_norm(x, size, 2.0, 0.1, beta), [x])


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8)])
def test_gradient_of_many_pixels(dtype, close):
    """More rows than are done at a time, against autograd of torch's own in float64."""
    x = activations(2, 96, 31, 29).to(dtype, memory_format=torch.channels_last).requires_grad_()
    above = torch.randn(2, 96, 31, 29, generator=torch.Generator().manual_seed(1)).to(dtype)
    local_response_norm(x).backward(above)
    wide = x.detach().double().requires_grad_()
    functional.local_response_norm(wide, 5, 5e-4, 0.75, 2.0).backward(above.double())
    assert x.grad.dtype == dtype
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=close, atol=close * 2)


def test_what_is_recorded_is_what_is_not():
    x = activations(2, 16, 9, 9)
    assert torch.equal(local_response_norm(x.clone().requires_grad_()), local_response_norm(x))
    nothing = torch.zeros(0, 4, 3, 3, requires_grad=True)
    local_response_norm(nothing).sum().backward()
    assert nothing.grad.shape == nothing.shape


def test_large_activations_stay_finite():
    got = local_response_norm(torch.full((1, 8, 1, 1), 1e15))
    assert torch.isfinite(got).all()
    assert (got > 0).all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"needs \(N, C, H, W\) and an odd `size`"):
        local_response_norm(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"got \(1, 2, 3, 4\) and 4"):
        local_response_norm(torch.zeros(1, 2, 3, 4), 4)
    x = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="`out` needs"):
        local_response_norm(x, out=torch.zeros(1, 2, 3, 5))
    with pytest.raises(ValueError, match="no gradient being recorded"):
        local_response_norm(x.requires_grad_(), out=torch.zeros(1, 2, 3, 4))
