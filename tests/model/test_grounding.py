from __future__ import annotations

import torch

from llava.model.grounding import GroundHead, info_nce, pool_objects


def test_info_nce_is_the_log_of_a_share(rng):
    scores = torch.rand(4, 6, generator=rng) * 2 - 1
    targets = torch.rand(4, 6, generator=rng) > 0.5
    targets[:, 0] = True
    e = torch.exp(scores.double() / 0.07)
    expected = -torch.log((e * targets).sum(1) / e.sum(1))
    assert torch.allclose(
        info_nce(scores, targets, torch.ones(4, 5, dtype=torch.bool)).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_no_target_means_the_zero_target(rng):
    scores = torch.rand(2, 4, generator=rng)
    valid = torch.ones(2, 3, dtype=torch.bool)
    none, zero = torch.zeros(2, 4, dtype=torch.bool), torch.tensor([[False, False, False, True]] * 2)
    assert torch.equal(info_nce(scores, none, valid), info_nce(scores, zero, valid))


def test_padding_does_not_count(rng):
    scores = torch.rand(1, 5, generator=rng, requires_grad=True)
    targets = torch.tensor([[True, False, False, False, False]])
    valid = torch.tensor([[True, True, False, False]])
    short = scores[:, [0, 1, 4]].detach()
    loss = info_nce(scores, targets, valid)
    assert torch.allclose(loss.detach(), info_nce(short, targets[:, [0, 1, 4]], torch.ones(1, 2, dtype=torch.bool)))
    loss.sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_pooling_is_a_mean_over_an_objects_patches(rng):
    dense = torch.rand(5, 2, 2, 3, generator=rng)
    masks = (torch.rand(2, 2, 2, 2, generator=rng) > 0.4, torch.rand(4, 3, 2, 2, generator=rng) > 0.4)
    masks[1][1] = False
    pooled = pool_objects(dense, masks, 4)
    assert pooled.shape == (2, 4, 3)
    assert torch.allclose(pooled[0, 1], dense[:2][masks[0][1]].mean(0))
    assert torch.allclose(pooled[1, 3], dense[2:][masks[1][3]].mean(0))
    assert (pooled[1, 1] == 0).all() and (pooled[0, 2:] == 0).all()


def test_scores_are_cosines(rng):
    head = GroundHead(8, 16)
    scores = head(torch.rand(3, 8, generator=rng), torch.rand(2, 5, 8, generator=rng), torch.tensor([0, 0, 1]))
    assert scores.shape == (3, 6)
    assert (scores.abs() <= 1 + 1e-6).all()
