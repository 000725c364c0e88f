"""Answering as the published system does: one question at a time, each with a full forward pass of its scene.

The plain twin of `llava.answering.Answerer`: the scene is encoded and read anew for every question, in one row with it;
nothing is shared, padded or batched. The text of one answer is decoded token by token from its own KV cache, as
Hugging Face's `generate` does it greedily.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import DynamicCache

from llava.answering import Answerer
from llava.data import chat
from llava.data.pack import coord_points
from llava.data.scenes import SceneInputs
from llava.types import Prediction, Sample, SceneTokens


@torch.no_grad()
def answer_one_by_one(answerer: Answerer, scene: SceneInputs, samples: Sequence[Sample]) -> list[Prediction]:
    """What `Answerer.answer` gives, in the same order."""
    return [_find(answerer, scene, s) if s.boxes is not None else _tell(answerer, scene, s) for s in samples]


def _tell(answerer: Answerer, scene: SceneInputs, sample: Sample) -> Prediction:
    if chat.COORD in sample.question and sample.coord is None:
        return Prediction(sample, text="")
    model, tokenizer = answerer.model, answerer.tokenizer
    eos, answer = tokenizer.convert_tokens_to_ids("<|im_end|>"), []
    cache = DynamicCache(config=model.config.text_config)
    hidden_TD = _read(answerer, scene, sample, chat.question_ids(tokenizer, sample.question), cache)[1]
    length = len(hidden_TD)
    for step in range(answerer.limit(sample)):
        token = model.language_model.lm_head(hidden_TD[-1]).argmax()
        if token == eos:
            break
        answer.append(int(token))
        x_11D = model.get_input_embeddings()(token[None, None])
        hidden_TD = model.read(x_11D, torch.tensor([[length + step]], device=model.device), None, cache)[0]
    return Prediction(sample, text=tokenizer.decode(answer, skip_special_tokens=True).strip())


def _find(answerer: Answerer, scene: SceneInputs, sample: Sample) -> Prediction:
    model, tokenizer = answerer.model, answerer.tokenizer
    ids = [*chat.question_ids(tokenizer, sample.question), tokenizer.convert_tokens_to_ids(chat.GROUND)]
    tokens, hidden_TD = _read(answerer, scene, sample, ids, None)
    objects_1n6 = torch.from_numpy(np.asarray(scene.objects, dtype=np.float32))[None].to(model.device)
    features_1nD = model.object_features(tokens, objects_1n6, (scene.object_masks.to(model.device),))
    row = torch.zeros(1, dtype=torch.long, device=model.device)
    scores = model.ground_head(hidden_TD[-1:], features_1nD, row)[0].float().cpu().numpy()
    return Prediction(sample, None, scene.objects, scores, model.config.ground_temperature)


def _read(
    answerer: Answerer, scene: SceneInputs, sample: Sample, question: list[int], cache: DynamicCache | None
) -> tuple[SceneTokens | None, torch.Tensor]:
    """The scene's tokens and the hidden states (T, D) of the whole conversation."""
    model = answerer.model
    prefix = chat.prefix_ids(answerer.tokenizer, answerer.settings, scene.num_tokens)
    ids_1T = torch.tensor([prefix + question], device=model.device)
    tokens = model.encode({key: value.to(model.device) for key, value in scene.inputs.items()})
    points = torch.from_numpy(coord_points(sample).astype(np.float32)).to(model.device)
    x_1TD = model.embed(ids_1T, tokens, points)
    positions = torch.arange(ids_1T.shape[1], device=model.device)[None]
    return tokens, model.read(x_1TD, positions, None, cache)[0]
