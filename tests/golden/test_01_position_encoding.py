"""Sine encodings of points, 1e-5."""

from __future__ import annotations

import re

import torch

from llava.model.position_encodings import sine3d
from llava.model.positions import Positions


def test_every_recorded_encoding(golden, arrays):
    recorded = arrays(golden / "01_position_encoding/pe_sine3d.npz")
    found = [match for name in recorded if (match := re.fullmatch(r"pe_E(\d+)_n(\d+)_([a-z]+?)(_halfin)?", name))]
    assert found
    for match in found:
        width, count = int(match[1]), int(match[2])
        coords = torch.from_numpy(recorded[f"coords_n{count}_{match[3]}"])
        coords = coords.reshape(*coords.shape[:2], count, 3)
        if match[4]:
            ours = sine3d(coords.half(), width).half().float()
        else:
            ours = sine3d(coords, width)
            metres = Positions(discrete=False).build_module(width)(coords.flatten(-2))
            assert torch.equal(metres, ours), "points side by side are what the model reads"
        torch.testing.assert_close(ours, torch.from_numpy(recorded[match[0]]), atol=1e-3 if match[4] else 1e-5, rtol=0)
