"""Who sees whom in a scene pack: [prefix][branch 1][branch 2] ... [padding]."""

from __future__ import annotations

import torch


def pack_mask(branch_ids: torch.Tensor) -> torch.Tensor:
    """Attention mask of scene packs, True where a query may look.

    A token sees the prefix's and its own branch's tokens up to itself and nothing else; padding sees
    only itself, so that no row of the mask is empty.

    Args:
        branch_ids: (B, T) 0 prefix, 1..K branches, -1 padding.

    Returns:
        (B, 1, T, T) bool: rows are queries, columns keys.
    """
    query, key = branch_ids[:, :, None], branch_ids[:, None, :]
    past = torch.ones(branch_ids.shape[1], branch_ids.shape[1], dtype=torch.bool, device=branch_ids.device).tril()
    visible = past & (query >= 0) & ((key == 0) | (key == query))
    itself = torch.eye(branch_ids.shape[1], dtype=torch.bool, device=branch_ids.device)
    return (visible | itself)[:, None]


def cache_mask(keys: torch.Tensor, queries: int) -> torch.Tensor:
    """Attention mask of questions that continue a cached prefix, True where a query may look.

    Args:
        keys: (K, S) bool over cached and new tokens, False for padding.
        queries: how many of the S tokens, the last ones, are new.

    Returns:
        (K, 1, queries, S) bool: each new token sees all real tokens up to itself, padding itself too.
    """
    past = torch.ones(queries, keys.shape[1], dtype=torch.bool, device=keys.device)
    past = past.tril(keys.shape[1] - queries)
    itself = past.triu(keys.shape[1] - queries)
    return ((past & keys[:, None]) | itself)[:, None]


def is_plainly_causal(branch_ids: torch.Tensor) -> bool:
    """Whether packs (B, T) need no mask: at most one branch a row, so that the only other thing is padding.

    Padding stands on the right, where a causal model cannot see it, and kernels without a mask are the
    fastest there are.
    """
    return int(branch_ids.max()) <= 1


def for_qwen2(mask: torch.Tensor | None, implementation: str) -> dict[str, torch.Tensor | None]:
    """A mask (B, 1, queries, keys), True where a query may look, in the form that HF's Qwen2 takes as it is.

    ``None`` stands for plainly causal.

    Raises:
        ValueError: the attention implementation takes no boolean mask.
    """
    if implementation != "sdpa":
        raise ValueError(f"scene packs need attn_implementation='sdpa', got {implementation!r}")
    return {"full_attention": mask}
