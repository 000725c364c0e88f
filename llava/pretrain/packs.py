"""What the base model reads: packs of questions about a few pictures of one room, from terse to real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset, Subset
from transformers import PreTrainedTokenizerBase

from llava.data.chat import Chat
from llava.data.pack import PackedScene, pack_scene
from llava.data.scenes import SceneInputs
from llava.encoders.siglip import Siglip
from llava.pretrain.layouts import benchmark_samples, layout, things_at_places
from llava.pretrain.posters import Posters, board, hang
from llava.pretrain.words import word_ids
from llava.pretrain_config import PretrainConfig
from llava.rooms.image_text import ImageFact, image_facts, places
from llava.rooms.pictures import Pictures, room_of
from llava.types import Sample


class ImagePacks(Dataset):
    """Scene packs whose scene is a handful of pictures of one room; pack `index` is always the same one.

    They get harder. `words` need no eyes: boards of words first, then pictures whose patches are told in words;
    `pictures` come after them, and are told in words ever less often. A small model learns to compare and to look up
    on the boards within minutes, and never learns it from hundreds of noisy tokens (benchmarks/LOG.md). Every other
    pack of `rooms`, the last ones, is a whole room told in words.
    """

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
        return self.config.word_packs + self.packs + self.config.room_packs

    @property
    def words(self) -> Subset:
        """The first stage of reading."""
        return Subset(self, range(self.config.word_packs))

    @property
    def pictures(self) -> Subset:
        """The second."""
        return Subset(self, range(self.config.word_packs, self.config.word_packs + self.packs))

    @property
    def rooms(self) -> Subset:
        """The third."""
        return Subset(self, range(self.config.word_packs + self.packs, len(self)))

    def __getitem__(self, index: int) -> PackedScene:
        rng = np.random.default_rng([self.config.seed, 1, index])
        config, begun, seen = self.config, index / self.config.word_packs, index - self.config.word_packs
        if seen >= self.packs and rng.random() < config.layouts:
            turn = int(rng.integers(4))
            scene, samples = self.told_room(int(rng.integers(config.told_rooms)), rng)
            return pack_scene(self.tokenizer, self.chat, scene.turned(turn), samples, turn)
        pictures = self.corpus[int(rng.integers(len(self.corpus)))]
        shown = board(pictures, self.encoder.cells, rng) if begun < config.boards else self.hung(pictures, rng)
        told = seen < 0 or rng.random() < config.told * (1 - seen / self.packs)
        scene, samples = self.questions_about(pictures, shown, rng, bool(told), terse=begun < config.terse)
        return pack_scene(self.tokenizer, self.chat, scene, samples)

    def hung(self, pictures: Pictures, rng: np.random.Generator) -> Posters:
        """Some of the pictures; all, where the chosen ones show bare walls."""
        # Few more often than many: what is where is learnt sooner from a few tokens.
        count = 1 + int(len(pictures.images) * rng.random() ** 2)
        shown = hang(pictures, rng.permutation(len(pictures.images))[:count], rng)
        return shown if shown.seen else hang(pictures, np.arange(len(pictures.images)), rng)

    def questions_about(
        self, pictures: Pictures, shown: Posters, rng: np.random.Generator, told: bool = False, terse: bool = False
    ) -> tuple[SceneInputs, list[Sample]]:
        """A scene and questions about it; `told`: with the words of each patch; `terse`: only simple questions."""
        shown = replace(shown, hung=bool(rng.random() < self.config.posters) and not terse)
        facts = self._facts(shown, rng, terse)
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
        scene = shown.scene(self.encoder.cells)
        self._tell(scene, shown, told)
        return scene, samples

    def told_room(self, index: int, rng: np.random.Generator) -> tuple[SceneInputs, list[Sample]]:
        """Room number `index` told in words, and what the benchmarks ask about it, or only what stands where."""
        size, cells = self.encoder.image_size, self.encoder.cells
        room = room_of(index)
        shown = layout(room, size, size // self.encoder.patch_size, cells, rng)
        scene = shown.scene(cells)
        self._tell(scene, shown)
        if rng.random() < self.config.centers:
            return scene, things_at_places(room, rng)
        samples = benchmark_samples(index)
        kinds = [sample.meta["kind"] for sample in samples]
        share = np.array([1 / kinds.count(kind) for kind in kinds])  # each benchmark as often as the others
        count = min(self.questions, len(samples))
        return scene, [samples[i] for i in rng.choice(len(samples), count, replace=False, p=share / share.sum())]

    def _tell(self, scene: SceneInputs, shown: Posters, told: bool = True) -> None:
        words = word_ids(shown.items, self.tokenizer)[shown.patches]
        scene.inputs["words"] = words if told else torch.full_like(words, -1)

    def _facts(self, shown: Posters, rng: np.random.Generator, terse: bool) -> list[ImageFact]:
        if shown.hung and rng.random() < self.config.lookups:
            # Short questions, so many of them: looking up is learnt when a step asks for it often.
            return places(shown.seen, 4 * self.questions, rng)
        return image_facts(shown.seen, self.questions, rng, shown.hung, terse)
