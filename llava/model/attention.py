"""Who sees whom in a scene pack: [prefix][branch 1][branch 2] ... [padding].

The same is said twice: `pack_mask` is plain, `pack_blocks` with `pack_attention` is fast.

Shape letters: B packs, T tokens of a pack, P of its prefix, K branches, L tokens of the longest branch,
S = P + L, H heads, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from llava.model.branches import Branches


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


@dataclass(frozen=True)
class RowBlocks:
    """Where the parts of one pack stand."""

    prefix: int  # tokens of the prefix, the first of the row
    places: torch.Tensor  # (K, L) index in the row of each branch's tokens, the last one repeated as padding
    filled: torch.Tensor  # (sum of lengths,) index in the flattened (K, L) of what is no padding


def pack_visibility(branch_ids: torch.Tensor) -> torch.Tensor | list[RowBlocks] | None:
    """Who sees whom in packs (B, T), in the form that is quickest where they are.

    None where there is at most one branch a row: such packs are plainly causal, because padding stands on
    the right, where nobody sees it.
    """
    if int(branch_ids.max()) <= 1:
        return None
    return pack_blocks(branch_ids) if branch_ids.device.type == "cpu" else pack_mask(branch_ids)


def pack_blocks(branch_ids: torch.Tensor) -> list[RowBlocks]:
    """The blocks of attention that a batch of packs needs, a row each, for `pack_attention`.

    Says the same as `pack_mask` at a fraction of the work: the prefix looks at itself, and the branches,
    as a batch, look at the prefix and each at itself.

    Args:
        branch_ids: (B, T) as in `pack_mask`.

    Raises:
        ValueError: a row is not [prefix][branch 1][branch 2] ... [padding].
    """
    rows = []
    for number, ids in enumerate(branch_ids.cpu()):
        padding, prefix, *lengths = torch.bincount(ids + 1, minlength=2).tolist()
        lengths = torch.tensor(lengths, dtype=torch.long)
        numbers = torch.cat([torch.arange(len(lengths) + 1), torch.tensor([-1])])
        if not torch.equal(ids, numbers.repeat_interleave(torch.tensor([prefix, *lengths, padding]))):
            raise ValueError(f"row {number} of the batch is not laid out as [prefix][branch 1][branch 2] ... [padding]")
        offsets = torch.arange(max(lengths.tolist(), default=0))
        starts = prefix + lengths.cumsum(0) - lengths
        places = starts[:, None] + torch.minimum(offsets, lengths[:, None] - 1)
        filled = (offsets < lengths[:, None]).flatten().nonzero()[:, 0]
        rows.append(RowBlocks(prefix, places.to(branch_ids.device), filled.to(branch_ids.device)))
    return rows


def pack_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | list[RowBlocks] | Branches | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls: SDPA, which also understands `pack_blocks` and `Branches`.

    Args:
        query: (B, heads, T, d); key and value may have fewer heads.
        attention_mask: a boolean mask, True where a query may look; None: causal; or the packs' blocks; or the
            branches that the row's tokens continue.

    Returns:
        (B, T, heads, d), and no weights.
    """
    if dropout:
        raise ValueError(f"attention dropout is {dropout}, but scene packs know none: set attention_dropout to 0")
    if isinstance(attention_mask, Branches):
        return attention_mask.attend(module.layer_idx, query, key, value, scaling), None
    if not isinstance(attention_mask, list):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    with torch.autocast(query.device.type, enabled=False):
        rows = [
            _attend_in_blocks(query[b].to(value.dtype) * scaling, key[b].to(value.dtype), value[b], blocks)
            for b, blocks in enumerate(attention_mask)
        ]
    return torch.stack(rows), None


def _attend_in_blocks(
    query_HTd: torch.Tensor, key_HTd: torch.Tensor, value_HTd: torch.Tensor, blocks: RowBlocks
) -> torch.Tensor:
    """One row: (T, H, d), zeros where there is padding. Plain products: twice as fast as SDPA's kernel on a CPU."""
    tokens, (count, length) = query_HTd.shape[1], blocks.places.shape
    shared_key_HPd, shared_value_HPd = key_HTd[:, : blocks.prefix], value_HTd[:, : blocks.prefix]

    scores_HPP = query_HTd[:, : blocks.prefix] @ shared_key_HPd.transpose(1, 2) + _future(blocks.prefix, query_HTd)
    prefix_HPd = scores_HPP.softmax(dim=-1) @ shared_value_HPd

    query_KLHd, key_KLHd, value_KLHd = (
        # index_select, not x[places]: the gradient of the latter is several times slower on a CPU.
        x.transpose(0, 1).index_select(0, blocks.places.flatten()).unflatten(0, (count, length))
        for x in (query_HTd, key_HTd, value_HTd)
    )
    shared_HKLP = (query_KLHd.permute(2, 0, 1, 3).flatten(1, 2) @ shared_key_HPd.transpose(1, 2)).unflatten(
        1, (count, length)
    )
    own_KHLL = query_KLHd.transpose(1, 2) @ key_KLHd.permute(0, 2, 3, 1) + _future(length, query_HTd)
    weights_HKLS = torch.cat([shared_HKLP, own_KHLL.transpose(0, 1)], dim=-1).softmax(dim=-1)
    shared_HKLP, own_HKLL = weights_HKLS.split([blocks.prefix, length], dim=-1)
    branches_HNd = shared_HKLP.flatten(1, 2) @ shared_value_HPd
    branches_HNd = branches_HNd + (own_HKLL.transpose(0, 1) @ value_KLHd.transpose(1, 2)).transpose(0, 1).flatten(1, 2)

    out_THd = torch.cat([prefix_HPd.transpose(0, 1), branches_HNd.transpose(0, 1).index_select(0, blocks.filled)])
    return F.pad(out_THd, (0, 0, 0, 0, 0, tokens - len(out_THd)))


def _future(length: int, like: torch.Tensor) -> torch.Tensor:
    """(length, length): minus infinity above the diagonal, else zero."""
    return like.new_full((length, length), float("-inf")).triu(1)


PACK_ATTENTION = "scene_pack"
ALL_ATTENTION_FUNCTIONS.register(PACK_ATTENTION, pack_attention)
