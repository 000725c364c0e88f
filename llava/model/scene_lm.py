"""The model: a scene encoder, a language model, 3D positions, and a head that chooses objects.

Shape letters: B packs of a batch, T tokens of a pack, K branches, V views of all packs, h w rows and
columns of scene tokens, N scene tokens with newlines, D model width, n objects, G grounding queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers import initialization as init
from transformers.utils import ModelOutput

from llava.encoders import find_encoder
from llava.model.attention import PACK_ATTENTION, Visibility, pack_visibility
from llava.model.grounding import GroundHead, info_nce, mask_padding, pool_objects
from llava.model.losses import spread_over_branches, text_losses
from llava.model.positions import Positions
from llava.types import SceneTokens


class SceneLMConfig(PreTrainedConfig):
    """Everything the weights depend on; what a run depends on besides is in ``recipe.json``."""

    model_type = "video3d_llm"
    sub_configs = {"text_config": Qwen2Config}

    text_config: dict | Qwen2Config | None = None
    encoder: dict | None = None  # {"name": one of ENCODERS, and that configuration's fields}
    positions: dict | None = None  # the fields of `Positions`
    ground_hidden_size: int | None = None  # None: the language model's width, as published
    ground_input_norm: bool = False  # a LayerNorm before the head's object branch
    ground_temperature: float = 0.07
    scene_token_id: int = -200
    ground_token_id: int = -201
    coord_token_id: int = -202
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs) -> None:
        if not isinstance(self.text_config, Qwen2Config):
            self.text_config = Qwen2Config(**(self.text_config or {}))
        self.encoder = dict(self.encoder or {"name": "siglip"})
        self.positions = dict(self.positions or {})
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)


@dataclass
class SceneLMOutput(ModelOutput):
    """What a forward pass gives; an attribute is None where the batch has nothing of the kind."""

    loss: torch.Tensor | None = None  # () sum over branches / number of branches
    lm_loss: torch.Tensor | None = None  # () mean over the branches with labels, detached
    ground_loss: torch.Tensor | None = None  # () mean over the branches with box targets, detached
    ground_scores: torch.Tensor | None = None  # (G, n + 1) cosine similarities, zero target last, padding -inf
    logits: torch.Tensor | None = None  # (B, T, vocabulary), only without labels


class SceneLM(PreTrainedModel):
    """Video-3D LLM over scene packs; the inputs are the fields of `types.Batch`."""

    config: SceneLMConfig
    config_class = SceneLMConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen2DecoderLayer", "SiglipEncoderLayer"]
    _supports_sdpa = True
    # Features are taken before the tower's last norm and head: no checkpoint needs these weights.
    _keys_to_ignore_on_load_missing = [r"encoder\.tower\.post_layernorm\."]
    _keys_to_ignore_on_load_unexpected = [r"encoder\.tower\.head\."]

    def __init__(self, config: SceneLMConfig) -> None:
        super().__init__(config)
        _check_language_model(config.text_config)
        width = config.text_config.hidden_size
        self.encoder = encoder_config(config).build_module(width)
        self.language_model = Qwen2ForCausalLM(config.text_config)
        self.language_model.set_attn_implementation(PACK_ATTENTION)
        self.newline = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))
        positions = Positions(**config.positions)
        self.positions = positions.build_module(width)
        self.coord_scale = positions.coord_scale
        self.ground_head = GroundHead(width, config.ground_hidden_size or width, config.ground_input_norm)
        self.post_init()

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As Hugging Face's, but always under our names, also where the weights were read under published ones."""
        super().save_pretrained(*args, **{**kwargs, "save_original_format": False})

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear) and module in set(self.positions.modules()):
            # HF's 0.02 would make a learnt encoding of nearly nothing; sin3d is of the size of one from the start.
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
            return
        super()._init_weights(module)
        if module is self:
            init.normal_(self.newline, std=len(self.newline) ** -0.5)
        elif isinstance(module, GroundHead):
            init.normal_(module.zero_target, std=len(module.zero_target) ** -0.5)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_output_embeddings(value)

    def encode(self, scene: dict[str, torch.Tensor] | None) -> SceneTokens | None:
        """Encode the views of all packs; None where there are none (a blind model)."""
        if not scene or any(len(value) == 0 for value in scene.values()):
            return None
        return self.encoder(scene)

    def embed(
        self, input_ids: torch.Tensor, scene: SceneTokens | None, coord_points: torch.Tensor | None
    ) -> torch.Tensor:
        """Embed the tokens (B, T) -> (B, T, D), put the scene into its placeholders and positions onto ``<coord>``.

        Raises:
            ValueError: another number of scene tokens or ``<coord>`` points is given than the text has places for.
        """
        is_scene, is_coord = input_ids == self.config.scene_token_id, input_ids == self.config.coord_token_id
        # Placeholders need no row of the embedding; the published model's id for them is negative.
        x_BTD = self.get_input_embeddings()(input_ids.masked_fill(is_scene | (input_ids < 0), 0))
        scene_ND = x_BTD.new_zeros(0, x_BTD.shape[-1]) if scene is None else self.scene_sequence(scene)
        _check_count("scene tokens", int(is_scene.sum()), len(scene_ND))
        x_BTD = x_BTD.masked_scatter(is_scene[..., None], scene_ND.to(x_BTD.dtype))
        points = x_BTD.new_zeros(0, 3) if coord_points is None else coord_points
        _check_count("<coord> points", int(is_coord.sum()), len(points))
        coord_CD = self.positions(points) * self.coord_scale
        return x_BTD.index_put((is_coord,), coord_CD.to(x_BTD.dtype), accumulate=True)

    def scene_sequence(self, scene: SceneTokens) -> torch.Tensor:
        """Scene tokens with their position encoding and newlines, (N, D).

        With ``scene.newline`` "one_token", which ends a scene and not a view, the tokens must be of one scene.
        """
        tokens_VhwD = scene.tokens + self.positions(scene.coords, scene.valid).to(scene.tokens.dtype)
        if scene.newline == "no_token":
            return tokens_VhwD.flatten(0, 2)
        lines_lnD = tokens_VhwD.flatten(*{"grid": (0, 1), "frame": (1, 2), "one_token": (0, 2)}[scene.newline])
        lines_lnD = lines_lnD[None] if scene.newline == "one_token" else lines_lnD
        newline_l1D = self.newline.to(lines_lnD.dtype).expand(len(lines_lnD), 1, -1)
        return torch.cat([lines_lnD, newline_l1D], dim=1).flatten(0, 1)

    def object_features(
        self, scene: SceneTokens | None, objects: torch.Tensor, object_masks: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Features (B, n, D) of the boxes (B, n, 6), metres: their pooled patches plus where their centre is."""
        centre_BnD = self.positions(objects[..., :3])
        if scene is None:
            return centre_BnD.to(self.newline.dtype)
        pooled_BnD = pool_objects(scene.dense, object_masks, objects.shape[1])
        return pooled_BnD + centre_BnD.to(pooled_BnD.dtype)

    def read(
        self,
        x_BTD: torch.Tensor,
        position_ids: torch.Tensor,
        mask: Visibility,
        cache: DynamicCache | None = None,
    ) -> torch.Tensor:
        """Run the language model's layers: embeddings (B, T, D) -> final hidden states, after the last norm.

        Args:
            mask: (B, 1, T, S) bool, True where a query may look; or what `pack_visibility` says; or `Branches`; None:
                plainly causal.
            cache: keys and values of the S - T tokens before; grows by T.
        """
        return self.language_model.model(
            inputs_embeds=x_BTD,
            attention_mask={"full_attention": mask},
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        branch_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
        scene: dict[str, torch.Tensor] | None = None,
        coord_points: torch.Tensor | None = None,
        objects: torch.Tensor | None = None,
        objects_valid: torch.Tensor | None = None,
        object_masks: Sequence[torch.Tensor] = (),
        ground_targets: torch.Tensor | None = None,
        num_branches: int | torch.Tensor | None = None,
    ) -> SceneLMOutput:
        """Run a batch of scene packs; shapes as in `types.Batch`.

        The loss is the sum over branches of each branch's own loss (mean cross-entropy over its labels,
        InfoNCE at its ``<ground>``) over the number of branches that have one. Whoever spreads a batch
        over several calls or devices gives the whole number as ``num_branches``.

        Raises:
            ValueError: counts of placeholders and of what is to fill them differ.
        """
        tokens = self.encode(scene)
        x_BTD = self.embed(input_ids, tokens, coord_points)
        hidden_BTD = self.read(x_BTD, position_ids, pack_visibility(branch_ids))

        found: dict[str, torch.Tensor | None] = {}
        losses = []  # each (B, K) losses and (B, K) bool: which branches have one
        rows, branches = len(input_ids), max(int(branch_ids.max()), 1)
        if labels is None:
            found["logits"] = self.language_model.lm_head(hidden_BTD)
        else:
            losses.append(text_losses(hidden_BTD, self.language_model.lm_head, labels, branch_ids, branches))
            found["lm_loss"] = _mean(*losses[-1])
        if objects is not None:
            row_G, column_G = ((input_ids == self.config.ground_token_id) & (branch_ids > 0)).nonzero(as_tuple=True)
            features_BnD = self.object_features(tokens, objects, object_masks)
            scores_Gn = self.ground_head(hidden_BTD[row_G, column_G], features_BnD, row_G)
            valid_Gn = objects_valid[row_G]
            found["ground_scores"] = mask_padding(scores_Gn.detach(), valid_Gn)
            if ground_targets is not None:
                _check_count("grounding targets", len(row_G), len(ground_targets))
                loss_G = info_nce(scores_Gn, ground_targets, valid_Gn, self.config.ground_temperature)
                losses.append(spread_over_branches(loss_G, row_G, branch_ids[row_G, column_G], rows, branches))
                found["ground_loss"] = _mean(*losses[-1])
        if losses:
            total = sum(loss_BK.sum() for loss_BK, _ in losses)
            count = sum(own_BK for _, own_BK in losses).count_nonzero() if num_branches is None else num_branches
            found["loss"] = total / torch.as_tensor(count, device=total.device).clamp(min=1)
        return SceneLMOutput(**found)


def encoder_config(config: SceneLMConfig) -> Any:
    """The encoder's own configuration object, from the dictionary that ``config.json`` holds.

    Raises:
        ValueError: no encoder has that name.
    """
    fields = dict(config.encoder)
    return find_encoder(fields.pop("name"))(**fields)


def _check_language_model(config: Qwen2Config) -> None:
    other = sorted(set(config.layer_types) - {"full_attention"})
    if other:
        raise ValueError(
            f"the language model has layers of type {', '.join(other)}: branches of a scene pack cannot be kept apart "
            "in them, only in full attention"
        )


def _check_count(what: str, promised: int, given: int) -> None:
    if promised != given:
        raise ValueError(f"{promised} {what} promised by the text, {given} given")


def _mean(losses: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    return losses.detach()[own].mean() if own.any() else None


AutoConfig.register(SceneLMConfig.model_type, SceneLMConfig)
AutoModel.register(SceneLMConfig, SceneLM)
