"""Muon and AdamW behind one optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from llava.optimizer import MuonAdamW, is_layer_matrix


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return self.head(x)


def groups_of(net: Net) -> list[dict]:
    named = list(net.named_parameters())
    return [
        {"params": [p for n, p in named if not is_layer_matrix(n, p)], "lr": 1e-2, "weight_decay": 0.1},
        {"params": [p for n, p in named if is_layer_matrix(n, p)], "lr": 2e-2, "weight_decay": 0.1, "muon": True},
    ]


def learn(net: Net, optimizers: list[torch.optim.Optimizer], steps: int, schedules: list = ()) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    x, wanted = torch.randn(32, 6, generator=generator), torch.randint(3, (32,), generator=generator)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(x), wanted)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for part in (*optimizers, *schedules):
            part.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_which_parameters_are_muons(net: Net) -> None:
    assert {n for n, p in net.named_parameters() if is_layer_matrix(n, p)} == {"layers.0.weight", "layers.1.weight"}


def test_it_is_the_two_optimizers_side_by_side(net: Net) -> None:
    """And a schedule reaches both."""
    twin = copy.deepcopy(net)
    rest, matrices = groups_of(twin)
    plain = [
        torch.optim.AdamW(rest["params"], lr=1e-2, weight_decay=0.1),
        torch.optim.Muon(matrices["params"], lr=2e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    one = MuonAdamW(groups_of(net))
    halve = torch.optim.lr_scheduler.ExponentialLR
    expected = learn(twin, plain, 6, [halve(optimizer, 0.5) for optimizer in plain])
    assert learn(net, [one], 6, [halve(one, 0.5)]) == pytest.approx(expected, rel=1e-6)
    assert expected[-1] < expected[0]


def test_it_goes_on_from_its_state(net: Net) -> None:
    twin = copy.deepcopy(net)
    whole = learn(net, [MuonAdamW(groups_of(net))], 6)
    first = MuonAdamW(groups_of(twin))
    begun = learn(twin, [first], 3)
    second = MuonAdamW(groups_of(twin))
    second.load_state_dict(first.state_dict())
    schedule = torch.optim.lr_scheduler.LambdaLR(second, lambda step: 1.0)
    assert begun + learn(twin, [second], 3, [schedule]) == pytest.approx(whole, rel=1e-6)


def test_either_part_may_be_missing(net: Net) -> None:
    rest, matrices = groups_of(net)
    assert len(MuonAdamW([rest]).param_groups) == len(MuonAdamW([matrices]).param_groups) == 1
