"""Checkpoints are Hugging Face folders: safetensors, config.json, tokenizer, chat template, recipe.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import Qwen2Config

from llava.encoders.siglip import Siglip
from llava.model.scene_lm import SceneLM, SceneLMConfig
from llava.resumable import digest, read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECIPE_FILE = "recipe.json"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")

# Parameter names of Video-3D LLM and LLaVA-Video (model type llava_qwen) -> ours.
LLAVA_QWEN_NAMES = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "encoder.tower.",
    r"^model\.mm_projector\.": "encoder.projector.",
    r"^model\.image_newline$": "newline",
    r"^ground_head_obj\.": "ground_head.object.",
    r"^ground_head_query\.": "ground_head.query.",
    r"^ground_head_zero_target$": "ground_head.zero_target",
    r"^model\.(embed_tokens|layers|norm)\.": r"language_model.model.\1.",
    r"^lm_head\.": "language_model.lm_head.",
}
QWEN2_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_dropout",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
)
# llava_qwen's config.json names the tower but not its sizes.
KNOWN_TOWERS = {"siglip-so400m-patch14-384": Siglip()}


def save(
    model: SceneLM,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    recipe: dict[str, Any] | None = None,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a complete folder; ``recipe.json`` goes first and comes last, so that a folder which has it is whole.

    ``weights``, as a distributed training gathers them, stand for the model's own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE_FILE).unlink(missing_ok=True)
    model.save_pretrained(folder, state_dict=weights)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if recipe is not None:
        write_json(folder / RECIPE_FILE, recipe)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a model that was saved whole, with its recipe."""
    return (folder / RECIPE_FILE).exists() and any((folder / name).exists() for name in WEIGHT_FILES)


def weights_digest(folder: Path) -> str:
    """A short digest of a checkpoint's weights."""
    return digest(sorted(folder.glob("*.safetensors")))


def load(
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    new_parts: tuple[str, ...] = (),
    positions: dict[str, Any] | None = None,
) -> SceneLM:
    """Read a model from a folder of this project's, Video-3D LLM's or LLaVA-Video's making.

    Args:
        folder: with ``config.json`` and safetensors.
        dtype: of the parameters.
        new_parts: prefixes of parameter names that the folder need not hold as the configuration asks, and
            that then start from random weights, e.g. ``("ground_head.",)`` for a video model that has
            never grounded anything.
        positions: fields of `Positions` to use instead of the folder's own; a learnt encoding that the
            folder does not hold starts anew.

    Raises:
        ValueError: no such folder, no weights in it, a file that is cut short, an unknown model type, or parameters
            that do not fit the configuration.
    """
    folder = Path(folder)
    raw = read_config(folder)
    if not any((folder / name).exists() for name in WEIGHT_FILES):
        present = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(f"{folder} holds no weights: expected {' or '.join(WEIGHT_FILES)}, found {present}")
    _check_whole(folder)
    model_type = raw.get("model_type")
    if model_type == "llava_qwen":
        config, names = llava_qwen_config(folder, raw), LLAVA_QWEN_NAMES
    elif model_type == SceneLMConfig.model_type:
        config, names = SceneLMConfig.from_pretrained(folder), None
    else:
        raise ValueError(
            f"{folder / 'config.json'} has model type {model_type!r}, "
            f"expected {SceneLMConfig.model_type!r} or 'llava_qwen'"
        )
    if positions is not None:
        config.positions, new_parts = dict(positions), (*new_parts, "positions.")
    model, report = SceneLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        key_mapping=names,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, together with the rest
    )
    _check_parameters(folder, report, new_parts)
    return model


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``; ValueError where there is none, or a damaged one."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: expected a checkpoint with config.json and safetensors")
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"{folder} is not a checkpoint: it holds no config.json")
    return read_json(path)


def llava_qwen_config(folder: Path, raw: dict[str, Any]) -> SceneLMConfig:
    """Our configuration for a folder whose config.json has LLaVA-NeXT's keys.

    The sizes of the vision tower come from ``vision_config.json`` where the folder has one, else from
    the tower's name.

    Raises:
        ValueError: the tower is unknown.
    """
    text = Qwen2Config(
        **{key: raw[key] for key in QWEN2_KEYS if key in raw},
        rope_parameters={"rope_type": "default", "rope_theta": raw.get("rope_theta", 1e6)},
    )
    lo, hi = raw.get("min_xyz_range", (-15, -15, -5)), raw.get("max_xyz_range", (15, 15, 5))
    return SceneLMConfig(
        text_config=text,
        encoder={"name": "siglip", **_tower_fields(folder, raw)},
        positions={
            "kind": "sin3d" if "sin3d" in raw.get("world_position_embedding_type", "") else "none",
            "voxel_size": raw.get("voxel_size", 0.1),
            "lo": [float(value) for value in lo],
            "hi": [float(value) for value in hi],
        },
        ground_temperature=raw.get("ground_head_temperature", 0.07),
        **{
            f"{kind}_token_id": raw[f"{kind}_token_ids"][0]
            for kind in ("ground", "coord")
            if raw.get(f"{kind}_token_ids")
        },
    )


def init_new_tokens(model: SceneLM, vocab_size: int, token_ids: list[int]) -> None:
    """Resize the vocabulary and start the new tokens' rows as the mean of all earlier rows.

    One token after the other, input and output embeddings alike, so that a later new token averages an
    earlier one too (quirk Q17).

    Args:
        vocab_size: ``len(tokenizer)``; may be smaller than the model's, whose rows are then cut off.
        token_ids: the new tokens, in the order in which they were added.
    """
    model.language_model.resize_token_embeddings(vocab_size, mean_resizing=False)
    model.config.text_config.vocab_size = vocab_size
    tables = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        tables.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for table in tables:
            for token in token_ids:
                table[token] = table[:token].float().mean(dim=0).to(table.dtype)


def _tower_fields(folder: Path, raw: dict[str, Any]) -> dict[str, int]:
    path = folder / "vision_config.json"
    if path.exists():
        vision = read_json(path)
        vision = vision.get("vision_config", vision)
        return {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"],
            "num_layers": vision["num_hidden_layers"],
            "num_heads": vision["num_attention_heads"],
        }
    name = raw.get("mm_vision_tower", "").rsplit("/", 1)[-1]
    if name not in KNOWN_TOWERS:
        raise ValueError(
            f"{folder}: vision tower {name!r} is unknown; known: {', '.join(KNOWN_TOWERS)}. "
            "Put the tower's config.json beside the weights as vision_config.json"
        )
    return dict(vars(KNOWN_TOWERS[name]))


def _check_whole(folder: Path) -> None:
    """Read the heads of the weight files, which say how long each has to be."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut short ({error}): copy it or train it again") from error
    index = folder / WEIGHT_FILES[1]
    if index.exists():
        read_json(index)


def _check_parameters(folder: Path, report: dict[str, Any], new_parts: tuple[str, ...]) -> None:
    problems = {key: f"missing {key}" for key in report["missing_keys"]}
    problems |= {key: f"unexpected {key}" for key in report["unexpected_keys"]}
    for key, stored, expected in report["mismatched_keys"]:
        problems[key] = f"{key} is {tuple(stored)}, config.json asks for {tuple(expected)}"
    problems = [text for key, text in sorted(problems.items()) if not key.startswith(new_parts)]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ValueError(f"the weights in {folder} do not fit its config.json: {shown}")
