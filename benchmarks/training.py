"""Training on scene packs: questions a second and memory against one question a sample, and what the cost grows with.

    python benchmarks/training.py

Writes benchmarks/training.json and benchmarks/training.md. A step here is a forward and a backward pass of the whole
model in float32; the optimizer's step, which the questions of a pack share, is left out. The language model is small,
but its vocabulary is Qwen2's. Prefixes are text unless frames are counted, so that the encoder's share flatters no way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import torch
from baselines.training import Scene, learn_apart, learn_by_dense_mask, learn_on_a_cache
from measure import check_counts, growth_exponent, in_child, interleaved, table, tree_mb, write
from transformers import Qwen2Config

from llava.complaints import run_script
from llava.encoders.siglip import Siglip
from llava.model.scene_lm import SceneLM, SceneLMConfig

SCENE_ID = 5  # any id that is drawn for no other token
ENCODER = Siglip(hidden_size=64, intermediate_size=128, num_layers=2, num_heads=1)  # of the published token counts
FRAME_TOKENS = ENCODER.cells * (ENCODER.cells + 1)
MEMORY_KS = (1, 16)


@dataclass(frozen=True)
class Work:
    """The sizes of the model and of what it learns from."""

    width: int = 512
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    vocabulary: int = 151_649  # that of the published checkpoints
    prefix: int = 6000  # tokens
    question: int = 60  # tokens, its answer among them
    answer: int = 10  # labelled tokens of a question; the mean of the five benchmarks is less, boxes have none
    questions: int = 16
    frames: int = 0  # 0: the prefix is text
    checkpointing: bool = False


def build(work: Work) -> SceneLM:
    """The model with random weights, ready to learn."""
    torch.manual_seed(0)
    text = Qwen2Config(
        vocab_size=work.vocabulary,
        hidden_size=work.width,
        intermediate_size=work.width * 11 // 4,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        num_key_value_heads=work.kv_heads,
        tie_word_embeddings=True,
    )
    model = SceneLM(
        SceneLMConfig(text_config=text, encoder={"name": "siglip", **vars(ENCODER)}, scene_token_id=SCENE_ID)
    ).train()
    if work.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def draw(work: Work) -> Scene:
    """A scene of that many tokens (with frames: of theirs) and its questions."""
    rng = torch.Generator().manual_seed(1)
    views, tokens = None, torch.randint(SCENE_ID + 1, work.vocabulary, (work.prefix,), generator=rng)
    if work.frames:
        size, cells = ENCODER.image_size, ENCODER.cells
        views = {
            "pixel_values": torch.rand(work.frames, 3, size, size, generator=rng),
            "coords": torch.rand(work.frames, cells, cells, 3, generator=rng),
            "valid": torch.ones(work.frames, cells, cells, dtype=torch.bool),
        }
        tokens = torch.cat([tokens[:60], torch.full((work.frames * FRAME_TOKENS,), SCENE_ID)])
    questions = torch.randint(SCENE_ID + 1, work.vocabulary, (work.questions, work.question), generator=rng)
    labels = torch.full_like(questions, -100)
    labels[:, -work.answer :] = questions[:, -work.answer :]
    return Scene(tokens, questions, labels, views)


def learn_packed(model: SceneLM, scene: Scene) -> float:
    """All questions in one pack, as `llava train` does. Returns the loss."""
    loss = model(**scene.pack()).loss
    loss.backward()
    return loss.item()


WAYS: dict[str, Callable[[SceneLM, Scene], float]] = {
    "one question a sample": learn_apart,
    "pack (`llava train`)": learn_packed,
    "repeated cache": learn_on_a_cache,
    "dense mask": learn_by_dense_mask,
}
APART, PACKED = tuple(WAYS)[:2]


def step(way: str, work: Work) -> tuple[float, float]:
    """Make the model and let it learn once: megabytes in use before that, and the loss. For `in_child`."""
    model, scene = build(work), draw(work)
    before = tree_mb(os.getpid())
    return before, WAYS[way](model, scene)


def peaks(works: Sequence[tuple[str, Work]]) -> list[list]:
    """Rows (what, K, peak MB, rise MB above the model without its gradients), each from a process of its own."""
    rows = []
    for way, work in works:
        run = in_child(step, way, work)
        name = f"{way}, checkpointing" if work.checkpointing else way
        rows.append([name, work.questions, round(run.peak_mb), round(run.peak_mb - run.result[0])])
    return rows


def seconds(works: Sequence[Work], repeats: int) -> list[float]:
    """Median seconds of a pack's step for each, taken in turns; all must have one model."""
    model, scenes = build(works[0]), [draw(work) for work in works]

    def one(scene: Scene) -> None:
        model.zero_grad()
        learn_packed(model, scene)

    timed = interleaved({str(i): lambda scene=scene: one(scene) for i, scene in enumerate(scenes)}, repeats)
    return [median(values) for values in timed.values()]


def compare_ways(work: Work, repeats: int) -> tuple[list[list], float]:
    """Rows (way, questions a second, ratio to one question a sample), and that ratio of packs.

    One question a sample is timed on one question, as each costs the same.
    """
    model, scene = build(work), draw(work)
    single = replace(scene, questions=scene.questions[:1], labels=scene.labels[:1])
    asked = {way: single if way == APART else scene for way in WAYS if way == APART or not work.checkpointing}
    asked[PACKED] = scene

    def one(way: str) -> None:
        model.zero_grad()
        WAYS[way](model, asked[way])

    timed = interleaved({way: lambda way=way: one(way) for way in asked}, repeats)
    rates = {way: len(asked[way].questions) / median(values) for way, values in timed.items()}
    suffix = ", checkpointing" if work.checkpointing else ""
    rows = [[way + suffix, f"{rate:.3f}", f"{rate / rates[APART]:.1f}"] for way, rate in rates.items()]
    return rows, rates[PACKED] / rates[APART]


def difference(work: Work) -> float:
    """The largest relative difference of a parameter's gradient between a pack and its samples one by one.

    Relative to the parameter's own gradient, or to a thousandth of the largest where its own is smaller.
    """
    model, scene = build(work), draw(work)
    found = []
    for way in (APART, PACKED):
        model.zero_grad()
        WAYS[way](model, scene)
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    apart, packed = found
    floor = 1e-3 * max(gradient.norm() for gradient in apart.values())
    return max(float((packed[name] - g).norm() / torch.clamp(g.norm(), min=floor)) for name, g in apart.items())


def sweep(what: str, works: Sequence[Work], sizes: Sequence[int], repeats: int) -> tuple[str, dict]:
    """A table of the cost against one size, with the exponent that fits it, and its numbers."""
    costs = seconds(works, repeats)
    exponent = growth_exponent(sizes, costs)
    rows = [
        [size, f"{cost:.2f}", f"{work.questions / cost:.3f}"]
        for size, cost, work in zip(sizes, costs, works, strict=True)
    ]
    text = table([what, "seconds a step", "questions/s"], rows) + f"\n\nSeconds grow as {what}^{exponent:.2f}.\n"
    return text, {"sizes": list(sizes), "seconds": costs, "exponent": exponent}


def main(
    work: Work = Work(),
    ks: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    prefixes: tuple[int, ...] = (1500, 3000, 6000, 12000),
    frames: tuple[int, ...] = (4, 8, 16, 32),
    repeats: int = 5,
    out: Path = Path(__file__),
) -> None:
    """Measure speed, memory and gradients, with and without gradient checkpointing; small sizes are a quick try."""
    sizes = {name: value for name, value in vars(work).items() if name not in ("frames", "checkpointing")}
    check_counts(ks=ks, prefixes=prefixes, frames=frames, repeats=repeats, **{f"work.{n}": v for n, v in sizes.items()})
    if work.width % work.heads or work.heads % work.kv_heads:
        raise ValueError(
            f"a width of {work.width} cannot be made of {work.heads} heads that share {work.kv_heads} key heads: each "
            "must divide the one before"
        )
    checkpointed = replace(work, checkpointing=True)
    rates, ratio = compare_ways(work, repeats)
    rates_checkpointed, ratio_checkpointed = compare_ways(checkpointed, repeats)
    off = {"plain": difference(work), "checkpointing": difference(checkpointed)}
    memory = peaks(
        [(PACKED, replace(w, questions=k)) for w in (work, checkpointed) for k in MEMORY_KS]
        + [(way, work) for way in WAYS if way not in (APART, PACKED)]
    )
    sweeps = {
        "questions": sweep("K", [replace(work, questions=k) for k in ks], ks, repeats),
        "prefix": sweep("prefix", [replace(work, prefix=p) for p in prefixes], prefixes, repeats),
        "frames": sweep("frames", [replace(work, frames=f) for f in frames], frames, repeats),
    }
    text = [
        f"Forward and backward pass in float32: Qwen2 of width {work.width}, {work.layers} layers, {work.heads} heads, "
        f"vocabulary {work.vocabulary:,}; a prefix of {work.prefix:,} tokens, questions of {work.question} of which "
        f"{work.answer} are labelled, K = {work.questions}. Medians of {repeats}.",
        table(["way", "questions/s", "ratio"], rates + rates_checkpointed),
        f"Gradients of the pack differ from those of its samples by at most {off['plain']:.1e} of their size, "
        f"under gradient checkpointing by {off['checkpointing']:.1e}.",
        table(["peak memory", "K", "MB", "of it for the step"], memory),
        f"K = {MEMORY_KS[1]} takes {memory[1][2] / memory[0][2]:.2f} times the memory of K = {MEMORY_KS[0]} "
        f"({memory[1][3] / memory[0][3]:.2f} of what the step alone takes), under checkpointing "
        f"{memory[3][2] / memory[2][2]:.2f} ({memory[3][3] / memory[2][3]:.2f}).",
        *(text for text, _ in sweeps.values()),
    ]
    numbers = {
        "work": asdict(work),
        "ratio": ratio,
        "ratio_checkpointing": ratio_checkpointed,
        "gradient_difference": off,
        "rates": rates + rates_checkpointed,
        "memory_mb": memory,
        **{name: found for name, (_, found) in sweeps.items()},
    }
    write(out, "Training on scene packs", "\n\n".join(text), numbers)


if __name__ == "__main__":
    run_script(main, __doc__)
