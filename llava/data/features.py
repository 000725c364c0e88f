"""What a frozen tower makes of a scene's views: computed once a scene instead of once a pack."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from torch import nn
from tqdm import tqdm

from llava import processes
from llava.resumable import digest

if TYPE_CHECKING:
    from llava.data.scenes import SceneSource


def keep_features(encoder: nn.Module, source: SceneSource, scenes: Iterable[str], precision: str) -> None:
    """Let ``source`` give what the encoder's tower makes of these scenes with them, as ``features``.

    Those that its cache lacks are computed here, by the processes together (all of them must call it); where the cache
    takes no more, the tower looks for itself as before. An encoder without a ``tower`` has no features.

    Args:
        encoder: its tower does not learn from here on.
        scenes: names, repeated ones too.
        precision: "bf16" or "fp32", in which the training runs.
    """
    if "tower" not in dict(encoder.named_children()):
        return
    device = next(encoder.tower.parameters()).device
    tower = tower_digest(encoder)
    if tower is not None and source.use_features(f"{tower} {precision} {device.type}"):
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
    processes.wait()  # all of them: each machine may have a cache or none


def tower_digest(encoder: nn.Module) -> str | None:
    """A digest of the weights of an encoder's tower, of what they are called, and of the code that looks with them.

    None where that code was written in no file.
    """
    try:
        code = digest([Path(inspect.getfile(type(encoder)))])
    except (OSError, TypeError):
        return None
    found = sha256(f"{code} {torch.__version__} {transformers.__version__} ".encode())
    for name, tensor in sorted(encoder.tower.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:32]
