"""A small base model from plain pictures, for what a pretrained video model is to the published recipe.

Three things are learnt, none of them 3D: the tower tells class and colour of every patch; the language model
answers questions about pictures (`rooms/image_text.py`); and it finds what lies at a marked place. For the last,
pictures are hung up as *posters*: flat, at random places and sizes, so that a mark on a poster and the patches
of the poster are encoded in one coordinate frame. A third of the packs hangs nothing up, so that a model
without position encoding can start from the same base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from llava.data.chat import GROUND, prefix_ids, question_ids
from llava.data.pack import PackedScene, coord_points, ground_target, pack_scene
from llava.data.scenes import SceneInputs
from llava.model.decoding import greedy, ground, prefill
from llava.pretrain_config import PretrainConfig
from llava.rooms.describe import multi3drefer, scanrefer
from llava.rooms.image_text import FIND_ANY, QA, SITUATED, image_facts
from llava.rooms.pictures import Pictures, room_of
from llava.rooms.questions import scanqa
from llava.rooms.situations import sqa3d
from llava.types import Sample, SceneTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from llava.data.chat import Chat
    from llava.encoders.siglip import Siglip
    from llava.model.scene_lm import SceneLM


WORDS = 8  # token ids a thing's colour and class take at most, said twice
HANGING = ((-3.5, -3.5, 0.2), (3.5, 3.5, 2.4))  # metres, corners of the space where posters hang


def corpus_texts(rooms: int, chat: Chat) -> Iterator[str]:
    """What the tokenizer is learnt from: the language of the benchmarks about these rooms, and of the base itself."""
    for index in range(rooms):
        # As often as questions are asked, so that the words around them take few ids.
        yield from ["system", "user", "assistant", chat.system, chat.instruction] * 10
        rng = np.random.default_rng([index, 5])
        room = room_of(index)
        visible = {item.id for item in room.items if not item.shell}
        for record in scanrefer(room, visible, rng) + multi3drefer(room, visible, rng):
            yield FIND_ANY.format(record["description"].capitalize())
            yield record["description"].capitalize()
        for record in scanqa(room, visible, rng, "train"):
            yield QA.format(record["question"])
            yield from record["answers"]
        questions, annotations = sqa3d(room, visible, rng)
        for record in questions:
            for situation in (record["situation"], *record["alternative_situation"]):
                yield SITUATED.format(f"{situation} {record['question']}")
        yield from (answer["answer"] for record in annotations for answer in record["answers"])
        for fact in image_facts([i for i in room.items if not i.shell], 30, rng, marks=True):
            yield fact.question.replace("<coord>", "")
            yield fact.answer


def train_tower(tower: nn.Module, encoder: Siglip, corpus: Sequence[Pictures], config: PretrainConfig) -> nn.ModuleDict:
    """Teach the tower to tell the class and the colour of what each patch shows.

    Returns the two linear heads that were learnt with it; they serve to measure the tower and are then thrown away.
    """
    images, targets, words = _patch_labels(corpus)
    heads = nn.ModuleDict({key: nn.Linear(encoder.hidden_size, len(words[key])) for key in words})
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.tower_lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.tower_lr, config.tower_steps, pct_start=0.05)
    rng = np.random.default_rng(config.seed)
    bar = tqdm(range(config.tower_steps), desc="tower", mininterval=10)
    for step in bar:
        chosen = np.sort(rng.integers(len(images), size=config.tower_batch))
        pixels, wanted = _mirrored(images[chosen], {key: target[chosen] for key, target in targets.items()}, rng)
        with torch.autocast("cpu", torch.bfloat16):
            features = tower(pixels).last_hidden_state
            logits = {key: head(features) for key, head in heads.items()}
        loss = sum(F.cross_entropy(logits[key].flatten(0, 1).float(), wanted[key].flatten()) for key in heads)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return heads


@torch.no_grad()
def patch_accuracy(
    tower: nn.Module, heads: nn.ModuleDict, corpus: Sequence[Pictures], vocabulary: Sequence[Pictures]
) -> dict[str, float]:
    """Share of patches on things (not on walls, floor or ceiling) whose class and colour the heads tell, in percent.

    Args:
        vocabulary: the corpus that the heads were trained on; fixes what their outputs mean.
    """
    words = _words(vocabulary)
    right: dict[str, list[torch.Tensor]] = {key: [] for key in heads}
    for pictures in corpus:
        thing = torch.from_numpy(np.isin(pictures.patches, [i for i, item in pictures.items.items() if not item.shell]))
        features = tower(_pixels(pictures.images)).last_hidden_state
        for key, target in _labels_of(pictures, words).items():
            right[key].append((heads[key](features).argmax(-1) == target.flatten(1))[thing.flatten(1)])
    return {key: 100 * torch.cat(found).float().mean().item() for key, found in right.items()}


@torch.no_grad()
def compare_first(model: SceneLM) -> None:
    """Start attention as a comparison: queries get the weights of the keys, so that like attends to like at once.

    Finding "chair" among scene tokens that are made of word vectors is such a comparison. It helped on synthetic scenes
    of word vectors and has not been shown to help on pictures (benchmarks/LOG.md).
    """
    for layer in model.language_model.model.layers:
        attention = layer.self_attn
        keys = attention.k_proj.weight.unflatten(0, (-1, attention.head_dim))
        groups = attention.num_key_value_groups
        attention.q_proj.weight.copy_(keys.repeat_interleave(groups, dim=0).flatten(0, 1))


def align_words(
    model: SceneLM, tokenizer: PreTrainedTokenizerBase, corpus: Sequence[Pictures], config: PretrainConfig
) -> None:
    """Teach the projector to say a patch in words: its output becomes the sum of the word vectors of colour and class.

    Reading an attribute off a scene token should then be a matter of comparing word vectors; that the language model
    learns it has not been seen yet (benchmarks/LOG.md). Only the projector learns, from unit word vectors drawn here.
    """
    table = model.get_input_embeddings().weight
    torch.nn.init.normal_(table, std=table.shape[1] ** -0.5)
    projector, tower = model.encoder.projector, model.encoder.tower
    torch.nn.init.zeros_(projector[-1].weight)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, config.align_steps)
    pixels, rng = Pixels(corpus), np.random.default_rng([config.seed, 3])
    words = [word_ids(pictures, tokenizer) for pictures in corpus]
    bar = tqdm(range(config.align_steps), desc="words", mininterval=10)
    for step in bar:
        chosen = rng.integers(len(pixels), size=config.tower_batch)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features = tower(_pixels(pixels[chosen])).last_hidden_state.float()
        shown = [(n // pixels.each, corpus[n // pixels.each].patches[n % pixels.each]) for n in chosen]
        wanted = say(torch.stack([words[room][patches] for room, patches in shown]), table.detach())
        loss = F.mse_loss(projector(features), wanted.flatten(1, 2), reduction="sum") / wanted.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(unexplained=f"{loss.item():.3f}")


def word_ids(pictures: Pictures, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """(items, `WORDS`) token ids of each item's colour and class, by item id, filled up with -1.

    Both as a question names them (after a blank) and as an answer does (at its start).
    """
    ids = torch.full((max(pictures.items) + 1, WORDS), -1)
    for i, item in pictures.items.items():
        found = [t for text in (f" {item.color} {item.label}", item.color, item.label) for t in _ids(tokenizer, text)]
        ids[i, : len(found)] = torch.tensor(found[:WORDS])
    return ids


def say(ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum of the word vectors of `ids` (..., WORDS), where -1 stands for no word: (..., D)."""
    return (table[ids.clamp(min=0)] * (ids >= 0)[..., None]).sum(dim=-2)


def oracle(model: SceneLM) -> torch.utils.hooks.RemovableHandle:
    """Let the encoder say views in words where the inputs tell the words, instead of what it sees.

    On such views, reading is learnt without the tower's mistakes in the way; views without words follow suit.
    """

    def replace_views(encoder: nn.Module, args: tuple, tokens: SceneTokens) -> SceneTokens:
        words = args[0]["words"]  # (V, g, g, WORDS)
        told = (words >= 0).any(dim=-1).any(dim=-1).any(dim=-1)[:, None, None, None]
        dense = torch.where(
            told, say(words, model.get_input_embeddings().weight.detach()).to(tokens.dense), tokens.dense
        )
        pooled = F.interpolate(dense.permute(0, 3, 1, 2), size=tokens.tokens.shape[1:3], mode="bilinear")
        return replace(tokens, dense=dense, tokens=pooled.permute(0, 2, 3, 1))

    return model.encoder.register_forward_hook(replace_views)


@lru_cache(maxsize=4096)
def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


class ImagePacks(torch.utils.data.Dataset):
    """Scene packs whose scene is a handful of pictures of one room; pack `index` is always the same one."""

    def __init__(
        self,
        corpus: Sequence[Pictures],
        packs: int,
        questions: int,
        encoder: Siglip,
        tokenizer: PreTrainedTokenizerBase,
        chat: Chat,
        config: PretrainConfig,
    ) -> None:
        self.corpus, self.packs, self.questions = corpus, packs, questions
        self.encoder, self.tokenizer, self.chat, self.config = encoder, tokenizer, chat, config

    def __len__(self) -> int:
        return self.packs

    def __getitem__(self, index: int) -> PackedScene:
        rng = np.random.default_rng([self.config.seed, 1, index])
        pictures = self.corpus[int(rng.integers(len(self.corpus)))]
        scene, samples = self.questions_about(
            pictures, rng, told=rng.random() < self.config.oracle * (1 - index / self.packs)
        )
        return pack_scene(self.tokenizer, self.chat, scene, samples)

    def questions_about(
        self, pictures: Pictures, rng: np.random.Generator, told: bool = False
    ) -> tuple[SceneInputs, list[Sample]]:
        """Some of the pictures as a scene, and questions about what they show; `told`: with the words of each patch."""
        # Few pictures more often than many: what is where is learnt sooner from a few tokens.
        views = rng.permutation(len(pictures.images))[: 1 + int(len(pictures.images) * rng.random() ** 2)]
        shown = HungPictures(pictures, views, self.encoder.cells, rng)
        if not shown.seen:  # a single picture may be of a bare wall
            shown = HungPictures(pictures, np.arange(len(pictures.images)), self.encoder.cells, rng)
        marks = bool(rng.random() < self.config.posters)
        facts = image_facts(shown.seen, self.questions, rng, marks)
        samples = [
            Sample(
                id=i,
                task="pictures",
                scene="pictures",
                question=fact.question,
                answer=fact.answer,
                coord=None if fact.mark is None else shown.mark(fact.mark, rng),
                boxes=None if fact.targets is None else shown.boxes(fact.targets),
                meta={"kind": fact.kind, "words": fact.words},
            )
            for i, fact in enumerate(facts)
        ]
        scene = shown.scene(hung=marks)
        words = word_ids(pictures, self.tokenizer)[shown.patches]
        scene.inputs["words"] = words if told else torch.full_like(words, -1)
        return scene, samples


@dataclass
class HungPictures:
    """Pictures hung up as posters: each a square in a plane of two axes, somewhere in the room."""

    pictures: Pictures
    views: np.ndarray
    cells: int
    rng: np.random.Generator
    seen: list = field(init=False)

    def __post_init__(self) -> None:
        self.patches = self.pictures.patches[self.views]  # (V, g, g)
        ids, counts = np.unique(self.patches, return_counts=True)
        self.seen = [
            self.pictures.items[int(i)]
            for i, count in zip(ids, counts, strict=True)
            if count >= 2 and i >= 0 and not self.pictures.items[int(i)].shell
        ]
        grid = self.patches.shape[1]
        planes = np.stack([self.rng.permutation(3)[:2] for _ in self.views])  # which two axes each poster spans
        signs = self.rng.choice([-1.0, 1.0], size=(len(self.views), 2))
        widths = self.rng.uniform(1.2, 3.5, size=len(self.views))
        steps = (np.arange(grid) + 0.5) / grid - 0.5
        self.coords = np.repeat(self.rng.uniform(*HANGING, (len(self.views), 3))[:, None, None], grid, 1)
        self.coords = np.repeat(self.coords, grid, 2)  # (V, g, g, 3) centre of each patch
        for v, (right, down) in enumerate(planes):
            self.coords[v, :, :, right] += signs[v, 0] * widths[v] * steps[None, :]
            self.coords[v, :, :, down] += signs[v, 1] * widths[v] * steps[:, None]

    def mark(self, item: int, rng: np.random.Generator) -> np.ndarray:
        """(6,) a small box near one patch of the item; a little off, as a box's centre is off its surface."""
        v, row, column = np.argwhere(self.patches == item)[int(rng.integers((self.patches == item).sum()))]
        return np.concatenate([self.coords[v, row, column] + rng.normal(0, 0.08, 3), np.full(3, 0.05)])

    def boxes(self, items: Sequence[int]) -> np.ndarray:
        """(n, 6) a small box per item at its middlemost patch in the picture that shows most of it."""
        boxes = np.empty((len(items), 6), dtype=np.float32)
        for i, item in enumerate(items):
            own = self.patches == item
            v = int(own.sum(axis=(1, 2)).argmax())
            places = np.argwhere(own[v])
            row, column = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
            boxes[i] = [*self.coords[v, row, column], 0.02, 0.02, 0.02]
        return boxes

    def scene(self, hung: bool) -> SceneInputs:
        """The pictures as the encoder's inputs; without places unless they are hung up."""
        pixels = _pixels(self.pictures.images[self.views])
        patches = torch.from_numpy(self.coords.astype(np.float32)).permute(0, 3, 1, 2)
        coords = F.interpolate(patches, size=(self.cells, self.cells), mode="bilinear").permute(0, 2, 3, 1)
        ids = [item.id for item in self.seen]
        masks = torch.from_numpy(np.stack([self.patches == i for i in ids]))
        inputs = {
            "pixel_values": pixels,
            "coords": coords,
            "valid": torch.full(coords.shape[:3], hung),
        }
        tokens = len(self.views) * self.cells * (self.cells + 1)
        return SceneInputs(inputs, tokens, self.boxes(ids), masks)


@torch.no_grad()
def picture_scores(model: SceneLM, packs: ImagePacks, corpus: Sequence[Pictures], rounds: int = 2) -> dict[str, float]:
    """Right answers in percent by kind of question, greedy and exact, about pictures that were never seen.

    A box question counts as right when the best-scoring box (or the zero target) is one of those meant.
    """
    found: dict[str, list[bool]] = {}
    end = packs.tokenizer.convert_tokens_to_ids("<|im_end|>")
    mark = packs.tokenizer.convert_tokens_to_ids(GROUND)
    for number, pictures in enumerate(list(corpus) * rounds):
        scene, samples = packs.questions_about(pictures, np.random.default_rng([packs.config.seed, 2, number]))
        prefix = prefill(model, torch.tensor(prefix_ids(packs.tokenizer, packs.chat, scene.num_tokens)), scene.inputs)
        told, boxed = [s for s in samples if s.boxes is None], [s for s in samples if s.boxes is not None]
        asked = [torch.tensor(question_ids(packs.tokenizer, s.question)) for s in told]
        points = [torch.from_numpy(coord_points(s).astype(np.float32)) for s in told]
        for sample, ids in zip(told, greedy(model, prefix, asked, points, 24, end), strict=True):
            answer = packs.tokenizer.decode(ids).strip()
            right = answer == sample.answer
            if sample.meta["kind"] == "point":  # a caption may add or leave out size and material
                right = set(sample.meta["words"]) <= set(answer.lower().replace(".", "").split())
            found.setdefault(sample.meta["kind"], []).append(right)
        asked = [torch.tensor([*question_ids(packs.tokenizer, s.question), mark]) for s in boxed]
        scores = ground(model, prefix, asked, torch.from_numpy(scene.objects).float(), scene.object_masks)
        for sample, row in zip(boxed, scores, strict=True):
            target = ground_target(sample, scene.objects)
            found.setdefault(sample.meta["kind"], []).append(bool(target[int(row.argmax())]))
    return {kind: 100 * float(np.mean(right)) for kind, right in sorted(found.items())}


def _words(corpus: Sequence[Pictures]) -> dict[str, list[str]]:
    """All classes and colours that occur, in alphabetical order."""
    items = [item for pictures in corpus for item in pictures.items.values()]
    return {key: sorted({vars(item)[key] for item in items}) for key in ("label", "color")}


def _labels_of(pictures: Pictures, words: dict[str, list[str]]) -> dict[str, torch.Tensor]:
    """(F, g, g) number of each patch's class and colour; -100 for a word that is not in `words`."""
    numbers = {}
    for key, known in words.items():
        number = {word: n for n, word in enumerate(known)}
        table = np.full(max(pictures.items) + 1, -100)
        for i, item in pictures.items.items():
            table[i] = number.get(vars(item)[key], -100)
        numbers[key] = torch.from_numpy(table[pictures.patches])
    return numbers


def _patch_labels(corpus: Sequence[Pictures]) -> tuple[Pixels, dict[str, torch.Tensor], dict[str, list[str]]]:
    """All images, class and colour numbers (N, g, g), and the words behind the numbers."""
    words = _words(corpus)
    labels = [_labels_of(pictures, words) for pictures in corpus]
    return Pixels(corpus), {key: torch.cat([found[key] for found in labels]) for key in words}, words


class Pixels:
    """The images (N, S, S, 3) of a corpus by number; they stay on disk until they are asked for."""

    def __init__(self, corpus: Sequence[Pictures]) -> None:
        self.corpus, self.each = corpus, len(corpus[0].images)

    def __len__(self) -> int:
        return len(self.corpus) * self.each

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([self.corpus[n // self.each].images[n % self.each] for n in numbers])


def _pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, S, S, 3) -> what the tower reads, (N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _mirrored(
    images: np.ndarray, targets: dict[str, torch.Tensor], rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pixels with half of the pictures mirrored, and the targets (N, g, g) (N, g * g) mirrored alike."""
    mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    pixels = _pixels(images)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    return pixels, {k: torch.where(mirrored[:, None, None], t.flip(2), t).flatten(1) for k, t in targets.items()}
