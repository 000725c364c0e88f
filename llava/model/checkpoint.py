"""Checkpoints are Hugging Face folders: safetensors, config.json, tokenizer, chat template, recipe.json.

Those that Video-3D LLM and LLaVA-Video publish (`llava_qwen`) are read as they are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError

from llava.model.llava_qwen import KEY_MAPPING, MODEL_TYPE, TOWER, read_llava_qwen_config, renamed
from llava.model.positions import Positions
from llava.model.scene_lm import SceneLM, SceneLMConfig
from llava.model.weights import read_shapes, read_tensors, weight_files
from llava.resumable import digest, read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECIPE_FILE = "recipe.json"

# What transformers and PyTorch raise over values that they cannot make a configuration or a layer of.
NO_CONFIG = (
    *(AttributeError, LookupError, TypeError, ValueError),
    *(AssertionError, OverflowError, RuntimeError, ZeroDivisionError, StrictDataclassError),
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.jinja")


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
    return (folder / RECIPE_FILE).exists() and weight_files(folder) != []


def weights_digest(folder: Path) -> str:
    """A short digest of a checkpoint's weights."""
    return digest(weight_files(folder))


def load_model(
    checkpoint: str | Path,
    dtype: torch.dtype = torch.float32,
    new_parts: tuple[str, ...] = (),
    positions: dict[str, Any] | None = None,
) -> SceneLM:
    """Read a model from a folder of this project's, Video-3D LLM's or LLaVA-Video's making, as it is.

    Args:
        checkpoint: a folder with ``config.json`` and weights, or the id of such a one on the Hugging Face hub.
        dtype: of the parameters.
        new_parts: prefixes of parameter names that the folder need not hold as the configuration asks, and
            that then start from random weights, e.g. ``("ground_head.",)`` for a video model that has
            never grounded anything.
        positions: fields of `Positions` to use instead of the folder's own; another kind of encoding starts anew.

    Raises:
        ValueError: no such folder, no weights in it, a file that is cut short, an unknown model type, or parameters
            that do not fit the configuration, which are all named.
    """
    folder = locate(checkpoint)
    raw, shapes = read_config(folder), read_shapes(folder)
    if is_published(folder, raw):
        config, names = read_llava_qwen_config(folder, raw, shapes), KEY_MAPPING
    else:
        try:
            config, names = SceneLMConfig.from_pretrained(folder), None
        except NO_CONFIG as error:
            raise ValueError(
                f"{folder / 'config.json'} is not as this project writes it ({error!r}): get it again"
            ) from error
    if positions is not None:
        if Positions(**positions).kind != Positions(**config.positions).kind:
            new_parts = (*new_parts, "positions.")
        config.positions = dict(positions)
    tower_is_apart = names is not None and not any(name.startswith(TOWER) for name in shapes)
    if tower_is_apart:
        new_parts = (*new_parts, "encoder.tower.")
        tower = _tower_folder(folder, raw)  # told of before gigabytes are read
    _check_shapes(folder, config, shapes if names is None else renamed(shapes), new_parts)
    with _only_errors("transformers.modeling_utils"):  # its table of what is missing says that all is well
        model, report = SceneLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            key_mapping=names,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, together with the rest
        )
    _check_parameters(folder, report, new_parts)
    if tower_is_apart:
        _load_tower(model, tower)
    if config.tie_word_embeddings and model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise ValueError(
            f"{folder / 'config.json'} says tie_word_embeddings, but the weights beside it hold an output embedding of "
            "their own that differs: set it to false, or get both from one place"
        )
    return model


def locate(checkpoint: str | Path) -> Path:
    """The folder of that name, or a copy of the hub's one of that id ("owner/name").

    Raises ValueError where there is neither.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(str(checkpoint)) or folder.parent.is_dir():
        raise ValueError(f"{folder} is not a folder: expected a checkpoint with config.json and weights")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(checkpoint), allow_patterns=list(HUB_FILES)))
    except OSError as error:  # all that the hub's client raises: offline, no such model, no permission
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{checkpoint} is neither a folder nor to be had from the Hugging Face hub ({reason}): name a folder with "
            "config.json and weights, or download it where there is a network"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``; ValueError where there is none, or a damaged one."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: expected a checkpoint with config.json and weights")
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"{folder} is not a checkpoint: it holds no config.json")
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected the fields of a configuration, found {type(raw).__name__}: get it again")
    return raw


def is_published(folder: Path, raw: dict[str, Any]) -> bool:
    """Whether a folder with that config.json is as Video-3D LLM and LLaVA-Video publish it, else one of this project's.

    Raises ValueError where it is neither.
    """
    kind = raw.get("model_type")
    if kind not in (MODEL_TYPE, SceneLMConfig.model_type):
        raise ValueError(
            f"{folder / 'config.json'} has model type {kind!r}, expected {SceneLMConfig.model_type!r} or {MODEL_TYPE!r}"
        )
    return kind == MODEL_TYPE


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


@contextmanager
def _only_errors(name: str) -> Iterator[None]:
    """Keep a library's warnings back. Its level stays as it is, for some look at it to decide what to do."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger(name)
    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


def _tower_folder(folder: Path, raw: dict[str, Any]) -> Path:
    """Where the vision tower is that a folder of a language model names; ValueError where it names none."""
    if not raw.get("mm_vision_tower"):
        raise ValueError(
            f"{folder} holds no vision tower ({TOWER}*), and its config.json names none: write the SigLIP folder that "
            "it was trained with, or that one's id on the hub, to mm_vision_tower"
        )
    return locate(raw["mm_vision_tower"])


def _load_tower(model: SceneLM, folder: Path) -> None:
    """Fill the vision tower from a SigLIP folder; its last layer, norm and head are not used."""
    own = model.encoder.tower.state_dict()
    missing = {name for name in own if not name.startswith("post_layernorm.")}
    read_shapes(folder)  # refuses a folder without weights
    for path in weight_files(folder):
        for name, tensor in read_tensors(path):
            name = name.removeprefix("vision_model.")
            if name in own and own[name].shape == tensor.shape:
                own[name].copy_(tensor)
                missing.discard(name)
    if missing:
        raise ValueError(f"the vision tower in {folder} lacks, or has in other shapes: {', '.join(sorted(missing))}")


def _check_shapes(
    folder: Path, config: SceneLMConfig, stored: dict[str, tuple[int, ...]], new_parts: tuple[str, ...]
) -> None:
    """Raise ValueError as `_check_parameters`, before anything is made of a size that the weights do not have."""
    try:
        with torch.device("meta"):
            model = SceneLM(config)
    except NO_CONFIG as error:
        raise ValueError(f"no model can be made of {folder / 'config.json'} ({error!r}): get it again") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    own = set(wanted)
    if config.tie_word_embeddings:
        own.discard("language_model.lm_head.weight")
    own = {name for name in own if not name.startswith("encoder.tower.post_layernorm.")}
    missing = {name for name in own - set(stored) if not name.startswith(new_parts)}
    mismatched = [
        (name, stored[name], wanted[name]) for name in wanted if stored.get(name, wanted[name]) != wanted[name]
    ]
    if missing or any(not name.startswith(new_parts) for name, *_ in mismatched):
        unexpected = {name for name in set(stored) - set(wanted) if not name.startswith("encoder.tower.head.")}
        report = {"missing_keys": missing, "unexpected_keys": unexpected, "mismatched_keys": mismatched}
        _check_parameters(folder, report, new_parts)


def _check_parameters(folder: Path, report: dict[str, Any], new_parts: tuple[str, ...]) -> None:
    problems = {key: f"missing {key}" for key in report["missing_keys"]}
    problems |= {key: f"unexpected {key}" for key in report["unexpected_keys"]}
    for key, stored, expected in report["mismatched_keys"]:
        problems[key] = f"{key} is {tuple(stored)}, config.json asks for {tuple(expected)}"
    problems = [text for key, text in sorted(problems.items()) if not key.startswith(new_parts)]
    if problems:
        raise ValueError(f"the weights in {folder} do not fit its config.json: {'; '.join(problems)}")
