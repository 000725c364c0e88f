"""What a frozen tower makes of a scene's views: computed once a scene instead of once a pack."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm import tqdm

from llava import processes

if TYPE_CHECKING:
    from llava.data.scenes import SceneSource


def keep_features(encoder: nn.Module, source: SceneSource, scenes: Iterable[str], precision: str) -> None:
    """Let ``source`` give what the encoder's tower makes of these scenes with them, as ``features``.

    Those that its cache lacks are computed here, by the processes together; where the cache takes no more, the tower
    looks for itself as before. An encoder without a ``tower`` has no features.

    Args:
        encoder: its tower does not learn from here on.
        scenes: names, repeated ones too.
        precision: "bf16" or "fp32", in which the training runs.
    """
    if "tower" not in dict(encoder.named_children()):
        return
    device = next(encoder.tower.parameters()).device
    if not source.use_features(f"{tower_digest(encoder.tower)} {precision} {device.type} {torch.__version__}"):
        return
    names = sorted(set(scenes))[processes.rank() :: processes.count()]
    looking = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    for name in tqdm(names, desc="features", unit="scene", disable=not processes.is_first(), leave=False):
        inputs = source.load(name).inputs
        if "features" in inputs:
            continue
        with torch.no_grad(), looking:
            features = encoder.look({key: value.to(device) for key, value in inputs.items()})
        if not source.keep_features(name, features.cpu()):
            break
    processes.wait()


def tower_digest(tower: nn.Module) -> str:
    """A digest of a module's weights and of what they are called."""
    found = sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:32]
