"""Who sees whom in a scene pack: [prefix][branch 1][branch 2] ... [padding].

The same is said thrice: `pack_mask` is plain; `pack_blocks` (CPU) and `pack_block_mask` (GPU) with `pack_attention`
are fast, and work under gradient checkpointing too. Like a KV cache that keeps its gradient, `pack_blocks` lets the
branches run as a batch on the prefix's keys and values, but layer by layer and without a copy for every branch.

Shape letters: B packs, T tokens of a pack, P of its prefix, K branches, L tokens of the longest branch,
S = P + L, H heads, d head width.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from llava.model.branches import Branches

# Tokens of a prefix from which torch's kernel is taken on a CPU. Plain products keep matrices of the prefix's squared
# length for the backward pass. Forward and backward, 4 heads of 64, one thread, seconds by products / by the kernel:
# prefix of 1,000 tokens 0.046 / 0.034, of 6,000 2.7 / 0.84; 16 branches of 60 beside it 0.066 / 0.088, 0.49 / 0.36.
LONG_PREFIX = 1500


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
    mask: torch.Tensor | None  # (N, P + N) bool, what the N tokens of all branches see; None: the prefix is short


# What `pack_attention` understands; None: plainly causal.
Visibility = torch.Tensor | BlockMask | list[RowBlocks] | Branches | None


def pack_visibility(branch_ids: torch.Tensor) -> Visibility:
    """Who sees whom in packs (B, T), in the form that is quickest where they are.

    None where there is at most one branch a row: such packs are plainly causal, because padding stands on
    the right, where nobody sees it. FlexAttention needs a GPU and Triton.
    """
    if int(branch_ids.max()) <= 1:
        return None
    if branch_ids.device.type == "cuda" and importlib.util.find_spec("triton"):
        return pack_block_mask(branch_ids)
    return pack_blocks(branch_ids)


def pack_block_mask(branch_ids: torch.Tensor) -> BlockMask:
    """What `pack_mask` says, for FlexAttention: it skips the blocks of 128 x 128 in which nobody sees anything.

    FlexAttention is compiled for each length, so let few occur (`llava.data.pack.bucket`).
    """

    def visible(b: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        own = (branch_ids[b, key] == 0) | (branch_ids[b, key] == branch_ids[b, query])
        return ((key <= query) & (branch_ids[b, query] >= 0) & own) | (key == query)

    rows, tokens = branch_ids.shape
    return create_block_mask(visible, rows, None, tokens, tokens, device=branch_ids.device)


def pack_blocks(branch_ids: torch.Tensor, long_prefix: int = LONG_PREFIX) -> list[RowBlocks]:
    """The blocks of attention that a batch of packs needs, a row each, for `pack_attention`.

    Says the same as `pack_mask` at a fraction of the work: the prefix looks at itself, and the branches,
    as a batch, look at the prefix and each at itself.

    Args:
        branch_ids: (B, T) as in `pack_mask`.
        long_prefix: tokens of a prefix from which torch's kernel is taken instead of plain products.

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
        real = branch_ids[number : number + 1, : prefix + int(lengths.sum())]
        mask = pack_mask(real)[0, 0, prefix:] if prefix >= long_prefix else None
        rows.append(RowBlocks(prefix, places.to(branch_ids.device), filled.to(branch_ids.device), mask))
    return rows


def pack_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Visibility,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention in the form that transformers calls: SDPA, which also understands packs and `Branches`.

    Args:
        query: (B, heads, T, d); key and value may have fewer heads.
        attention_mask: a boolean mask, True where a query may look; None: causal; or what `pack_blocks` and
            `pack_block_mask` return; or the branches that the row's tokens continue.

    Returns:
        (B, T, heads, d), and no weights.
    """
    if dropout:
        raise ValueError(f"attention dropout is {dropout}, but scene packs know none: set attention_dropout to 0")
    if isinstance(attention_mask, BlockMask | Branches):
        query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary embedding leaves float32
    if isinstance(attention_mask, BlockMask):
        return flex_attention_forward(module, query, key, value, attention_mask, scaling=scaling)[0], None
    if isinstance(attention_mask, Branches):
        return attention_mask.attend(module.layer_idx, query, key, value, scaling), None
    if not isinstance(attention_mask, list):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return _attend_row_by_row(query, key, value, attention_mask, scaling), None


@torch.compiler.disable  # each pack has other lengths, for which all would be compiled anew
def _attend_row_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: list[RowBlocks], scaling: float
) -> torch.Tensor:
    """(B, heads, T, d) -> (B, T, heads, d), in the precision of ``value``."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    with torch.autocast(query.device.type, enabled=False):
        attended = [
            (_attend_in_blocks if blocks.mask is None else _attend_with_kernel)(
                query[b].to(value.dtype) * scaling, key[b].to(value.dtype), value[b], blocks
            )
            for b, blocks in enumerate(rows)
        ]
    return torch.stack(attended)


def _attend_in_blocks(
    query_HTd: torch.Tensor, key_HTd: torch.Tensor, value_HTd: torch.Tensor, blocks: RowBlocks
) -> torch.Tensor:
    """One row: (T, H, d), zeros where there is padding. Plain products, for short prefixes."""
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


def _attend_with_kernel(
    query_HTd: torch.Tensor, key_HTd: torch.Tensor, value_HTd: torch.Tensor, blocks: RowBlocks
) -> torch.Tensor:
    """As `_attend_in_blocks` for a long prefix: nothing of its squared length is made.

    Between branches it computes what the mask then hides, which is little beside the prefix.
    """
    start, (_, end) = blocks.prefix, blocks.mask.shape
    prefix_HPd = F.scaled_dot_product_attention(
        query_HTd[None, :, :start], key_HTd[None, :, :start], value_HTd[None, :, :start], is_causal=True, scale=1.0
    )
    branches_HNd = F.scaled_dot_product_attention(
        query_HTd[None, :, start:end],
        key_HTd[None, :, :end],
        value_HTd[None, :, :end],
        attn_mask=blocks.mask,
        scale=1.0,
    )
    out_THd = torch.cat([prefix_HPd, branches_HNd], dim=2)[0].transpose(0, 1)
    return F.pad(out_THd, (0, 0, 0, 0, 0, query_HTd.shape[1] - end))


def _future(length: int, like: torch.Tensor) -> torch.Tensor:
    """(length, length): minus infinity above the diagonal, else zero."""
    return like.new_full((length, length), float("-inf")).triu(1)


PACK_ATTENTION = "scene_pack"
ALL_ATTENTION_FUNCTIONS.register(PACK_ATTENTION, pack_attention)
