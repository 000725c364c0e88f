"""Losses of tokens: in pieces as at once, and what they weigh in a branch."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llava.model.losses import token_losses


def _losses_and_gradients(losses, hidden: torch.Tensor, head: nn.Linear, weights: torch.Tensor) -> list[torch.Tensor]:
    loss = losses(hidden)
    return [loss.detach(), *torch.autograd.grad((loss * weights).sum(), (hidden, head.weight))]


def _plain(head: nn.Linear, targets: torch.Tensor):
    return lambda hidden: F.cross_entropy(head(hidden), targets, reduction="none")


@pytest.mark.parametrize("logits", [1, 7 * 30, 100 * 30])  # a token at a time, seven, all at once
def test_pieces_give_the_same_losses_and_gradients(rng, logits):
    head = nn.Linear(12, 30, bias=False, dtype=torch.float64)
    hidden = torch.randn(20, 12, generator=rng, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(0, 30, (20,), generator=rng), torch.rand(20, generator=rng, dtype=torch.float64)
    found = _losses_and_gradients(lambda h: token_losses(h, head, targets, logits), hidden, head, weights)
    wanted = _losses_and_gradients(_plain(head, targets), hidden, head, weights)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_pieces_never_hold_all_logits(rng):
    head = nn.Linear(4, 50, bias=False)
    hidden, targets = torch.randn(40, 4, generator=rng, requires_grad=True), torch.zeros(40, dtype=torch.long)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        token_losses(hidden, head, targets, logits=10 * 50).sum().backward()
    assert max(sizes) < 40 * 50


def test_processes_that_gather_the_head_call_it_once(rng, monkeypatch: pytest.MonkeyPatch):
    """However many labels each has: one that called it once more would wait for the others for ever."""
    head = nn.Linear(4, 50, bias=False)
    hidden, targets = torch.randn(40, 4, generator=rng), torch.zeros(40, dtype=torch.long)
    calls = []
    head.register_forward_hook(lambda *_: calls.append(1))
    token_losses(hidden, head, targets, logits=10 * 50)
    assert len(calls) == 4
    monkeypatch.setattr("llava.model.losses.is_deepspeed_zero3_enabled", lambda: True)
    token_losses(hidden, head, targets, logits=10 * 50)
    assert len(calls) == 5


def test_no_labels_at_all():
    assert token_losses(torch.zeros(0, 4), nn.Linear(4, 9, bias=False), torch.zeros(0, dtype=torch.long)).shape == (0,)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and importlib.util.find_spec("liger_kernel")),
    reason="Liger's kernels run on a GPU, and need liger-kernel: pip install -e '.[gpu]'",
)
def test_liger_gives_the_same_losses_and_gradients():
    """With a weight of its own for each token, as tokens of short and of long answers have."""
    head = nn.Linear(64, 1000, bias=False).cuda()
    hidden = torch.randn(20, 64, device="cuda", requires_grad=True)
    targets, weights = torch.randint(0, 1000, (20,), device="cuda"), torch.rand(20, device="cuda")
    found = _losses_and_gradients(lambda h: token_losses(h, head, targets), hidden, head, weights)
    wanted = _losses_and_gradients(_plain(head, targets), hidden, head, weights)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)
