"""What `llava pretrain` does: pictures, tokenizer, tower, reading words, saying patches in words, reading pictures,
reading rooms told in words.

Every stage leaves its result in the work folder; a killed run goes on behind the last one that is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from llava.loading import load_tokenizer
from llava.pretrain_config import PretrainConfig
from llava.recipes import Recipe, get_recipe, new_model
from llava.resumable import only_one, read_json, replaced, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT_ROOMS = 400  # rooms whose language the tokenizer is learnt from


@dataclass(frozen=True)
class Pretraining:
    """A base model to make."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    pictures: PretrainConfig
    out: Path = Path("assets/rooms-base")
    """Folder for the base checkpoint."""
    work: Path = Path("checkpoints/rooms-base")
    """Folder for rendered pictures and unfinished training; a killed run goes on from here."""


def pretrain_base(args: Sequence[str]) -> None:
    """Make a base model and print how well it reads rooms that it never saw."""
    default = Pretraining(get_recipe("rooms-base"), PretrainConfig())
    chosen = tyro.cli(Pretraining, prog="llava pretrain", default=default, args=list(args))
    chosen.work.mkdir(parents=True, exist_ok=True)
    with only_one(chosen.work, f"makes a base model in {chosen.work}"):
        _agree(chosen)
        _make(chosen)


def _make(chosen: Pretraining) -> None:
    import torch  # after the arguments, so that help and a wrong argument are told at once

    from llava.model.checkpoint import save
    from llava.pretrain.packs import ImagePacks
    from llava.pretrain.scores import picture_scores, told_scores
    from llava.pretrain.tower import patch_accuracy, train_tower
    from llava.pretrain.words import align_words, draw_words, tell_words
    from llava.rooms.pictures import picture_rooms
    from llava.train import train_on

    recipe, config, work = chosen.recipe, chosen.pictures, chosen.work
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    eyes = recipe.encoder
    corpus = picture_rooms(work, config.rooms + config.held_out, config.pictures, eyes.image_size, eyes.patch_size)
    seen, unseen = corpus[: config.rooms], corpus[config.rooms :]
    tokenizer = _tokenizer(chosen)
    torch.manual_seed(config.seed)
    model = new_model(recipe, tokenizer)
    tower, projector = model.encoder.tower, model.encoder.projector
    packs = ImagePacks(seen, recipe.train.packs, recipe.train.questions_per_scene, eyes, tokenizer, recipe.chat, config)

    def see() -> dict[str, Any]:
        heads = train_tower(tower, eyes, seen, config, work / "tower-unfinished.pt")
        return {"tower": tower.state_dict(), "scores": patch_accuracy(tower, heads, unseen, seen)}

    seeing = _stage(work / "tower.pt", see)
    print("patches of rooms never seen:", _rounded(seeing["scores"]))

    def read_words() -> dict[str, Any]:
        torch.manual_seed(config.seed)
        table = draw_words(model)
        told = tell_words(model, table)
        train_on(packs.words, model, tokenizer, recipe, work / "words")
        told.remove()
        return {"table": table, "model": model.state_dict()}

    reading = _stage(work / "reading.pt", read_words)
    model.load_state_dict(reading["model"])
    tower.load_state_dict(seeing["tower"])

    def align() -> dict[str, Any]:
        torch.manual_seed(config.seed)
        align_words(model, reading["table"], tokenizer, seen, config)
        return projector.state_dict()

    projector.load_state_dict(_stage(work / "projector.pt", align))
    told = tell_words(model, reading["table"])
    train_on(packs.pictures, model, tokenizer, recipe, work / "pictures")
    train_on(packs.rooms, model, tokenizer, recipe, work / "rooms")
    in_words = told_scores(model.eval(), packs, range(config.rooms, len(corpus)))
    told.remove()
    scores = picture_scores(model, packs, unseen)
    print("rooms never told of, in words:", _rounded(in_words))
    print("questions about rooms never seen:", _rounded(scores))
    save(model.to(torch.bfloat16), chosen.out, tokenizer, recipe.to_dict())
    write_json(chosen.out / "scores.json", {"patches": seeing["scores"], "questions": scores, "told": in_words})
    print(f"base model: {chosen.out}")


def _tokenizer(chosen: Pretraining) -> PreTrainedTokenizerBase:
    from llava.data.tokenizer import train_tokenizer
    from llava.pretrain.texts import corpus_texts

    folder = chosen.work / "tokenizer"
    if not folder.exists():
        with replaced(folder) as partial:
            texts = corpus_texts(TEXT_ROOMS, chosen.recipe.chat)
            train_tokenizer(texts, chosen.pictures.vocabulary).save_pretrained(partial)
    return load_tokenizer(folder)


def _stage(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a stage leaves behind, made where it is not there yet."""
    import torch

    if not path.exists():
        with replaced(path) as partial:
            torch.save(make(), partial)
    return torch.load(path, weights_only=True)


def _agree(chosen: Pretraining) -> None:
    """Note down in the work folder what is made there, or check that it was begun in the same way."""
    from llava.train import with_defaults

    path = chosen.work / "pretraining.json"

    def that_matters(pictures: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
        return {"pictures": pictures, "recipe": {**recipe, "train": with_defaults(recipe["train"])}}

    wanted = json.loads(json.dumps(that_matters(asdict(chosen.pictures), chosen.recipe.to_dict())))
    if path.exists() and that_matters(**read_json(path)) != wanted:
        raise ValueError(
            f"{chosen.work} holds a base model that was begun with other settings ({path.name} has them): "
            "give another --work, or delete that folder to begin anew"
        )
    write_json(path, wanted)


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {kind: round(value, 1) for kind, value in scores.items()}
