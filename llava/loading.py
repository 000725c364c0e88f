"""Models by recipe or by folder: what a training starts from, and a trained model ready to be asked."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llava import processes
from llava.recipes import Recipe, check_sizes, load_recipe
from llava.resumable import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.answering import Answerer
    from llava.model.scene_lm import SceneLM


def start(recipe: Recipe) -> tuple[SceneLM, PreTrainedTokenizerBase]:
    """The model that training starts from: the recipe's base checkpoint with the recipe's position encoding.

    What the base does not hold (a learnt position encoding; of a video model the grounding head and the rows of
    `<ground>` and `<coord>`) starts anew, from random weights of the training's seed.

    Raises ValueError when the recipe names no base, one that is not there, or one of other sizes than its own.
    """
    import torch
    from transformers import set_seed

    from llava.data.marks import add_marks
    from llava.model.checkpoint import load_model
    from llava.model.weights import read_shapes

    folder = find_base(recipe)
    set_seed(recipe.train.seed)
    # Half of the memory; where all weights learn, DeepSpeed makes float32 copies for the optimizer itself.
    half = recipe.train.precision == "bf16" and (recipe.train.lora_rank or recipe.train.deepspeed)
    positions = asdict(replace(recipe.positions, precision=recipe.training_precision))
    grounds = any(name.startswith("ground_head") for name in read_shapes(folder))
    new_parts = () if grounds else ("ground_head.",)
    model = load_model(folder, torch.bfloat16 if half else torch.float32, new_parts, positions)
    check_sizes(folder, model.config, recipe)
    model.config.ground_temperature = recipe.head.temperature
    tokenizer = load_tokenizer(folder)
    added = add_marks(model, tokenizer)
    new = [*added, *([] if grounds else ["the grounding head"])]
    if new:
        processes.tell(f"new, because {recipe.base} has none: {', '.join(new)}")
    return model, tokenizer


def find_base(recipe: Recipe) -> Path:
    """A recipe's base checkpoint: by path, by path inside the repository (`assets/rooms-base`), or by hub id."""
    from llava.model.checkpoint import HUB_ID, locate

    if recipe.base is None:
        raise ValueError(f"recipe {recipe.name!r} names no checkpoint to start from: give one with --base FOLDER")
    places = [Path(recipe.base), Path(__file__).resolve().parents[1] / recipe.base]
    found = next((place for place in places if place.is_dir()), None)
    if found is None and HUB_ID.fullmatch(recipe.base) and not places[0].parent.is_dir():
        return locate(recipe.base)
    if found is None:
        raise ValueError(f"there is no base checkpoint {recipe.base!r}: looked in {', '.join(map(str, places))}")
    return found


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder; ValueError when it has none, or a damaged one."""
    from transformers import AutoTokenizer

    files = [{"tokenizer.json"}, {"vocab.json", "merges.txt", "tokenizer_config.json"}]
    if not any(all((folder / name).exists() for name in names) for names in files):
        raise ValueError(
            f"{folder} holds no tokenizer.json (nor vocab.json with merges.txt): it is not a complete checkpoint"
        )
    for path in folder.glob("tokenizer*.json"):
        read_json(path)
    return AutoTokenizer.from_pretrained(folder)


def load_checkpoint(checkpoint: Path, device: str | None = None, compat: str | None = None) -> tuple[Answerer, Recipe]:
    """A trained model, ready to be asked, and the recipe that it was trained with.

    Args:
        checkpoint: a folder or a hub id.
        device: default: this process's GPU where there is one, in the precision that the recipe trained in, else the
            CPU, where half precision would only be slower.
        compat: the mode to ask in; default: as the recipe says. Returned in the recipe.
    """
    import torch

    from llava.answering import Answerer
    from llava.data.marks import match_marks
    from llava.model.checkpoint import load_model, locate

    folder = locate(checkpoint)
    recipe = load_recipe(folder)
    if compat is not None:
        recipe = replace(recipe, compat=compat)
    mode, device = recipe.mode, device or processes.device()
    half = recipe.train.precision == "bf16" and device != "cpu"
    dtype = getattr(torch, mode.evaluation) if half and mode.evaluation != "float32" else torch.bfloat16
    positions = asdict(replace(recipe.positions, precision=mode.evaluation))
    model = load_model(folder, dtype if half else torch.float32, positions=positions).to(device)
    tokenizer = load_tokenizer(folder)
    match_marks(model, tokenizer)
    return Answerer(model.eval(), tokenizer, mode.asking(recipe.chat), mode.max_new_tokens), recipe
