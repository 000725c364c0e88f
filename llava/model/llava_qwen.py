"""Model type llava_qwen, as Video-3D LLM and LLaVA-Video publish it: its parameter names and its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Qwen2Config

from llava.encoders.siglip import Siglip
from llava.fields import FLAG, IDS, POINT, POSITIVE, SHARE, SIZE, TEXT, Field, check_fields, one_of
from llava.model.positions import Positions
from llava.model.scene_lm import SceneLMConfig, encoder_config
from llava.resumable import read_json

MODEL_TYPE = "llava_qwen"
NAMES = (  # beginnings of parameter names, theirs and ours
    ("model.vision_tower.vision_tower.vision_model.", "encoder.tower."),
    ("model.mm_projector.", "encoder.projector."),
    ("model.image_newline", "newline"),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
    ("ground_head_obj.", "ground_head.object."),
    ("ground_head_query.", "ground_head.query."),
    ("ground_head_zero_target", "ground_head.zero_target"),
)
KEY_MAPPING = {f"^{re.escape(theirs)}": ours for theirs, ours in NAMES}
TOWER = NAMES[0][0]
VOCABULARY = "model.embed_tokens.weight"
LAYER = re.compile(r"model\.layers\.(\d+)\.")

LANGUAGE_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
LANGUAGE_KEYS: dict[str, Field] = {
    "vocab_size": SIZE,
    **dict.fromkeys(LANGUAGE_SIZES, SIZE),
    "hidden_act": one_of("silu"),
    "max_position_embeddings": SIZE,
    "initializer_range": POSITIVE,
    "rms_norm_eps": POSITIVE,
    "tie_word_embeddings": FLAG,
    "attention_dropout": SHARE,
    "use_sliding_window": FLAG,
    "sliding_window": SIZE.or_null(),
    "max_window_layers": Field("a whole number", lambda value: value == 0 or SIZE.holds(value)),
}
OTHER_KEYS: dict[str, Field] = {
    "rope_theta": POSITIVE,
    # What is read is plain: a model that was trained otherwise would answer, and wrongly.
    "rope_scaling": one_of(None),
    "mm_spatial_pool_mode": one_of("bilinear", None),
    "add_faster_video": one_of(False, None),
    "mm_vision_tower": TEXT.or_null(),
    "world_position_embedding_type": TEXT.or_null(),
    "object_feature_type": TEXT,
    "voxel_size": POSITIVE,
    "min_xyz_range": POINT,
    "max_xyz_range": POINT,
    "ground_head_temperature": POSITIVE,
    "ground_token_ids": IDS.or_null(),
    "coord_token_ids": IDS.or_null(),
}
TOWER_KEYS = {  # theirs -> ours
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
}
# llava_qwen's config.json names the tower but not its sizes.
KNOWN_TOWERS = {"siglip-so400m-patch14-384": Siglip()}
POSITIONS = re.compile(r"(avg|minmax|sample1|sample5|sample9)-(discrete-)?sin3d")
POOLED = {"patch14-pe": "patches", "patch27-pe": "cells"}
NEWLINES = ("grid", "frame", "one_token", "no_token")
# What the published code wants to find besides, and what is true of every model that can be exported.
CONSTANTS = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": MODEL_TYPE,
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_spatial_pool_stride": 2,
    "mm_spatial_pool_mode": "bilinear",
    "mm_resampler_type": None,
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "image_aspect_ratio": "anyres_max_9",
    "use_mm_proj": True,
    "tokenizer_padding_side": "right",
    "tokenizer_model_max_length": 32768,
    "ground_head_type": "infonce",
    "rope_scaling": None,
    "use_cache": True,
}


# Those of them that a model which can be read has, too: another value would be another computation.
DECISIVE = ("mm_projector_type", "mm_resampler_type", "ground_head_type")


def their_name(ours: str) -> str:
    """A parameter's name in llava_qwen; ValueError for one that has no place there."""
    found = next((theirs + ours.removeprefix(own) for theirs, own in NAMES if ours.startswith(own)), None)
    if found is None:
        raise ValueError(f"{ours} has no place in a {MODEL_TYPE} folder")
    return found


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """{their name: value} under our names; a name that has no place here stays as it is."""
    return {
        next((ours + name.removeprefix(theirs) for theirs, ours in NAMES if name.startswith(theirs)), name): value
        for name, value in values.items()
    }


def read_llava_qwen_config(
    folder: Path, raw: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> SceneLMConfig:
    """Our configuration for a folder whose config.json has LLaVA-NeXT's keys.

    The sizes of the vision tower come from ``vision_config.json`` where the folder has one, from the tower's own
    folder where ``mm_vision_tower`` is one, else from the tower's name.

    Args:
        raw: the content of config.json.
        shapes: of the stored parameters. They decide the vocabulary: released folders hold 151649 rows whatever
            config.json says.

    Raises:
        ValueError: the tower is unknown, a size is not said, or a key asks for something that is not known here.
    """
    _check_keys(folder, raw, shapes)
    # Qwen2Config wants floats where JSON may say 1
    language = {
        key: float(raw[key]) if field is POSITIVE else raw[key] for key, field in LANGUAGE_KEYS.items() if key in raw
    }
    if shapes and VOCABULARY in shapes:
        language["vocab_size"] = shapes[VOCABULARY][0]
    rope = {"rope_type": "default", "rope_theta": float(raw.get("rope_theta", 1e6))}
    kind = raw.get("world_position_embedding_type")
    match = POSITIONS.fullmatch(kind or "avg-discrete-sin3d")
    if match is None:
        raise _unknown(folder, "world_position_embedding_type", kind, "{avg|minmax|sample1|5|9}-[discrete-]sin3d")
    newline, pooled = raw.get("mm_newline_position", "grid"), raw.get("object_feature_type", "patch14-pe")
    if newline not in NEWLINES:
        raise _unknown(folder, "mm_newline_position", newline, ", ".join(NEWLINES))
    if pooled not in POOLED:
        raise _unknown(folder, "object_feature_type", pooled, ", ".join(POOLED))
    for key in DECISIVE:
        if raw.get(key) not in (None, CONSTANTS[key]):
            raise _unknown(folder, key, raw[key], str(CONSTANTS[key]))
    lo, hi = raw.get("min_xyz_range", (-15, -15, -5)), raw.get("max_xyz_range", (15, 15, 5))
    return SceneLMConfig(
        text_config=Qwen2Config(**language, rope_parameters=rope),
        encoder={
            "name": "siglip",
            **_tower_fields(folder, raw),
            "points": match[1],
            "newline": newline,
            "pooled": POOLED[pooled],
        },
        positions={
            "kind": "sin3d" if kind else "none",
            "voxel_size": raw.get("voxel_size", 0.1),
            "lo": [float(value) for value in lo],
            "hi": [float(value) for value in hi],
            "discrete": match[2] is not None,
        },
        ground_temperature=raw.get("ground_head_temperature", 0.07),
        **{f"{mark}_token_id": raw[key][0] for mark in ("ground", "coord") if raw.get(key := f"{mark}_token_ids")},
    )


def write_llava_qwen_config(config: SceneLMConfig) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """config.json for the published code, and vision_config.json where the tower is not one known by its name.

    Raises:
        ValueError: the model has something that the published code lacks, which is named.
    """
    text, tower, positions = config.text_config, encoder_config(config), Positions(**config.positions)
    lacking = [
        what
        for what, has in {
            f"the encoder {config.encoder['name']!r}": not isinstance(tower, Siglip),
            f"the position encoding {positions.kind!r}": positions.kind not in ("sin3d", "none"),
            "another temperature or scale of the position encoding": (
                (positions.temperature, positions.scale, positions.coord_scale) != (1e4, 1.0, 1.0)
            ),
            "a norm before the grounding head": config.ground_input_norm,
            "a grounding head of another width": config.ground_hidden_size not in (None, text.hidden_size),
        }.items()
        if has
    ]
    if lacking:
        raise ValueError(f"this model cannot become a {MODEL_TYPE} folder, whose code lacks: {', '.join(lacking)}")
    name = next((name for name, known in KNOWN_TOWERS.items() if _sizes(known) == _sizes(tower)), None)
    raw = {
        **CONSTANTS,
        # The window's size is forgotten where none is used, and a model with one does not exist here.
        **{key: vars(text)[key] for key in LANGUAGE_KEYS if key not in ("sliding_window", "max_window_layers")},
        "rope_theta": text.rope_parameters["rope_theta"],
        "mm_vision_tower": f"google/{name}" if name else "siglip",
        "mm_hidden_size": tower.hidden_size,
        "mm_newline_position": tower.newline,
        "object_feature_type": {ours: theirs for theirs, ours in POOLED.items()}[tower.pooled],
        "voxel_size": positions.voxel_size,
        "min_xyz_range": list(positions.lo),
        "max_xyz_range": list(positions.hi),
        "ground_head_temperature": config.ground_temperature,
        "ground_token_ids": [config.ground_token_id],
        "coord_token_ids": [config.coord_token_id],
    }
    if positions.kind == "sin3d":
        raw["world_position_embedding_type"] = f"{tower.points}-{'discrete-' * positions.discrete}sin3d"
    return raw, None if name else {"vision_config": {"model_type": "siglip_vision_model", **_sizes(tower)}}


def _sizes(tower: Siglip) -> dict[str, int]:
    return {theirs: vars(tower)[ours] for theirs, ours in TOWER_KEYS.items()}


def _check_keys(folder: Path, raw: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]] | None) -> None:
    path = folder / "config.json"
    # What Qwen2Config takes instead is no smaller than 7B, and would be built before anything is compared.
    lacking = [key for key in LANGUAGE_SIZES if key not in raw]
    if lacking:
        raise ValueError(
            f"{path} does not say {', '.join(lacking)}: get the file again from where the weights are from"
        )
    try:
        check_fields(raw, {**LANGUAGE_KEYS, **OTHER_KEYS})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    heads, shared = raw["num_attention_heads"], raw["num_key_value_heads"]
    if raw["hidden_size"] % heads or heads % shared:
        raise ValueError(
            f"{path}: hidden_size {raw['hidden_size']}, num_attention_heads {heads} and num_key_value_heads {shared}: "
            "expected each to be a multiple of the next"
        )
    rows = (shapes or {}).get(VOCABULARY, (1, 1))
    if len(rows) != 2 or rows[0] == 0:
        raise ValueError(f"the weights in {folder}: {VOCABULARY} is {rows}, expected a row of numbers for each token")
    layers = {int(found[1]) for name in shapes or () if (found := LAYER.match(name))}
    if layers and raw["num_hidden_layers"] > max(layers) + 1:
        raise ValueError(
            f"{path}: num_hidden_layers is {raw['num_hidden_layers']}, the weights beside it have {max(layers) + 1} "
            "layers: they are of different models, or some files of weights are missing"
        )


def _tower_fields(folder: Path, raw: Mapping[str, Any]) -> dict[str, int]:
    named = raw.get("mm_vision_tower") or ""
    for path in (folder / "vision_config.json", Path(named) / "config.json" if named else folder / "nowhere"):
        if path.exists():
            vision = read_json(path)
            vision = vision.get("vision_config", vision) if isinstance(vision, dict) else vision
            if not isinstance(vision, dict):
                raise ValueError(f"{path}: expected the sizes of a vision tower, found {type(vision).__name__}")
            try:
                check_fields(vision, dict.fromkeys(TOWER_KEYS, SIZE))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            return {ours: vision.get(theirs, vars(Siglip())[ours]) for theirs, ours in TOWER_KEYS.items()}
    name = named.rsplit("/", 1)[-1]
    if name not in KNOWN_TOWERS:
        raise ValueError(
            f"{folder}: vision tower {name!r} is unknown; known: {', '.join(KNOWN_TOWERS)}. "
            "Put the tower's config.json beside the weights as vision_config.json"
        )
    return {ours: vars(KNOWN_TOWERS[name])[ours] for ours in TOWER_KEYS.values()}


def _unknown(folder: Path, key: str, value: object, known: str) -> ValueError:
    return ValueError(f"{folder / 'config.json'}: {key} is {value!r}, expected one of {known}")
