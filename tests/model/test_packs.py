"""A pack of K questions equals K separate samples: loss, gradients, scores, and nothing leaks between branches."""

from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from llava.model.attention import LONG_PREFIX, pack_blocks, pack_mask

KINDS = ("text caption ground nothing both", "ground caption text")


def _rows(kit, rng, prefix_labels=False):
    return [
        kit.make_row(rng, views=2, objects=3, kinds=KINDS[0], prefix_labels=prefix_labels),
        kit.make_row(rng, views=3, objects=5, kinds=KINDS[1], prefix_labels=prefix_labels),
    ]


def _to_double(batch: dict) -> dict:
    scene = {key: value.double() if key == "pixel_values" else value for key, value in batch["scene"].items()}
    return batch | {"scene": scene}


def _gradients(model) -> dict[str, torch.Tensor]:
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in learning.items()}


def _pack_and_samples(model, kit, rows, convert=lambda batch: batch):
    """Loss and gradients of the packs in one batch, and of all their samples one by one."""
    packed = model(**convert(kit.collate(rows)))
    packed.loss.backward()
    packed_gradients = _gradients(model)
    model.zero_grad()
    samples = [sample for row in rows for sample in row.apart()]
    losses = []
    for sample in samples:
        loss = model(**convert(kit.collate([sample])), num_branches=len(samples)).loss
        loss.backward()
        losses.append(loss.detach())
    return packed, packed_gradients, torch.stack(losses).sum(), _gradients(model)


def _unlike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float) -> list[str]:
    """Names whose gradients differ by more than ``tolerance`` of the largest gradient's size."""
    size = max(gradient.norm() for gradient in a.values())
    return [name for name in a if (a[name] - b[name]).norm() > tolerance * max(a[name].norm(), 1e-3 * size)]


@pytest.mark.parametrize("prefix_labels", [False, True])
@pytest.mark.parametrize("kind", ["sin3d", "mlp"])
def test_pack_equals_separate_samples_in_double(kit, rng, monkeypatch, kind, prefix_labels):
    def without_cast(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    monkeypatch.setattr(Qwen2RMSNorm, "forward", without_cast)  # HF computes it in float32
    model = kit.make_model(positions={"kind": kind, "temperature": 100.0}).double()
    packed, gradients, loss, sample_gradients = _pack_and_samples(
        model, kit, _rows(kit, rng, prefix_labels), _to_double
    )
    assert packed.loss.dtype == torch.float64
    assert torch.isclose(packed.loss.detach(), loss, rtol=1e-9, atol=0)
    assert _unlike(gradients, sample_gradients, 1e-9) == []
    assert all(gradient.norm() > 0 for name, gradient in gradients.items() if "k_proj.bias" not in name)


def test_pack_equals_separate_samples_in_single(kit, rng):
    model = kit.make_model(tie=True, ground_input_norm=True, ground_hidden_size=32)
    packed, gradients, loss, sample_gradients = _pack_and_samples(model, kit, _rows(kit, rng))
    assert torch.isclose(packed.loss.detach(), loss, rtol=1e-5, atol=0)
    assert _unlike(gradients, sample_gradients, 1e-5) == []


def test_dense_mask_gives_the_same_model(kit, rng):
    """The plain path, which a GPU takes, beside the blocks that a CPU takes."""
    model, batch = kit.make_model().double(), _to_double(kit.collate(_rows(kit, rng)))
    with torch.no_grad():
        x = model.embed(batch["input_ids"], model.encode(batch["scene"]), batch["coord_points"])
        plain = model.read(x, batch["position_ids"], pack_mask(batch["branch_ids"]))
        fast = model.read(x, batch["position_ids"], pack_blocks(batch["branch_ids"]))
    real = batch["branch_ids"] >= 0
    assert torch.allclose(plain[real], fast[real], atol=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_long_pack_equals_separate_samples_in_single(kit, rng, checkpointing):
    """A prefix that is read by torch's kernel, beside others that are not."""
    rows = [*_rows(kit, rng), kit.make_row(rng, views=LONG_PREFIX // kit.ROW_TOKENS + 1, objects=2, kinds=KINDS[1])]
    model = kit.make_model().train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    packed, gradients, loss, sample_gradients = _pack_and_samples(model, kit, rows)
    assert torch.isclose(packed.loss.detach(), loss, rtol=1e-5, atol=0)
    assert _unlike(gradients, sample_gradients, 1e-5) == []


def test_gradient_checkpointing_changes_nothing(kit, rng):
    rows = _rows(kit, rng)
    model = kit.make_model().train()
    plain = model(**kit.collate(rows))
    plain.loss.backward()
    gradients = _gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    checkpointed = model(**kit.collate(rows))
    checkpointed.loss.backward()
    assert torch.equal(plain.loss, checkpointed.loss)
    assert _unlike(gradients, _gradients(model), 1e-6) == []


def test_bf16_autocast_runs_and_stays_near(kit, rng):
    model, batch = kit.make_model(), kit.collate(_rows(kit, rng))
    with torch.autocast("cpu", torch.bfloat16):
        half = model(**batch)
    half.loss.backward()
    full = model(**batch)
    assert half.loss.dtype == torch.float32
    assert torch.isclose(half.loss, full.loss, rtol=0.05)


def test_a_model_in_bf16_stays_near(kit, rng):
    batch = kit.collate(_rows(kit, rng))
    model = kit.make_model(positions={"kind": "mlp"})
    full = model(**batch).loss
    out = model.to(torch.bfloat16)(**batch)
    out.loss.backward()
    assert out.loss.dtype == out.ground_scores.dtype == torch.float32
    assert torch.isclose(out.loss, full, rtol=0.05)


def test_a_branch_cannot_see_another(kit, rng):
    row = kit.make_row(rng, views=2, objects=3, kinds="text text text")
    model = kit.make_model()
    batch = kit.collate([row])
    changed = batch | {"input_ids": batch["input_ids"].clone()}
    second = batch["branch_ids"] == 2
    changed["input_ids"][second] = (batch["input_ids"][second] + 1) % kit.SCENE
    with torch.no_grad():
        a = model(**batch | {"labels": None, "ground_targets": None}).logits
        b = model(**changed | {"labels": None, "ground_targets": None}).logits
    assert torch.equal(a[~second], b[~second])
    assert not torch.isclose(a[second], b[second]).all()


def test_scores_belong_to_their_own_row(kit, rng):
    rows = _rows(kit, rng)
    model = kit.make_model()
    with torch.no_grad():
        together = model(**kit.collate(rows)).ground_scores
        apart = [model(**kit.collate([row])).ground_scores for row in rows]
    assert together.shape == (4, 6)
    assert torch.isinf(together[:3, 3:5]).all()  # the first row has three objects only
    assert torch.allclose(together[:3][:, [0, 1, 2, 5]], apart[0], atol=1e-6)
    assert torch.allclose(together[3:], apart[1], atol=1e-6)


def test_num_branches_makes_accumulation_equal_one_batch(kit, rng):
    rows = _rows(kit, rng)
    model = kit.make_model()
    whole = model(**kit.collate(rows)).loss
    parts = [model(**kit.collate([row]), num_branches=torch.tensor(8)).loss for row in rows]
    assert torch.isclose(whole, sum(parts), rtol=1e-6)


def test_losses_are_reported_by_kind(kit, rng):
    row = kit.make_row(rng, views=1, objects=3, kinds="text ground")
    out = kit.make_model()(**kit.collate([row]))
    assert torch.isclose(out["loss"], (out["lm_loss"] + out["ground_loss"]) / 2)
    only_text = kit.make_model()(**kit.collate([kit.make_row(rng, 1, 3, "text caption")]))
    assert only_text.ground_loss is None
    assert torch.isclose(only_text.loss, only_text.lm_loss)


def test_every_parameter_gets_a_gradient_whatever_the_kinds(kit, rng):
    """Else DDP, which waits for all of them, would hang on a batch without grounding."""
    model = kit.make_model()
    for kinds in ("text", "ground"):
        model.zero_grad()
        model(**kit.collate([kit.make_row(rng, 1, 3, kinds)])).loss.backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("empty", [{}, None, "no views"])
def test_blind_model_answers_without_scene(kit, rng, empty):
    row = kit.make_row(rng, views=0, objects=3, kinds="text ground caption")
    batch = kit.collate([row])
    batch["scene"] = batch["scene"] if empty == "no views" else empty
    out = kit.make_model()(**batch)
    assert torch.isfinite(out.loss)
    assert torch.isfinite(out.ground_scores).all()


def test_scene_without_objects(kit, rng):
    row = kit.make_row(rng, views=1, objects=0, kinds="text nothing")
    out = kit.make_model()(**kit.collate([row]))
    assert out.ground_scores.shape == (1, 1)
    assert torch.isfinite(out.loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: {"scene": {k: v[:1] for k, v in b["scene"].items()}},
            "12 scene tokens promised by the text, 6 given",
        ),
        (lambda b: {"coord_points": b["coord_points"][:1]}, "2 <coord> points promised by the text, 1 given"),
        (lambda b: {"ground_targets": b["ground_targets"][:0]}, "1 grounding targets promised by the text, 0 given"),
        (lambda b: {"object_masks": tuple(m[:, :1] for m in b["object_masks"])}, "object_masks describe"),
    ],
)
def test_counts_that_disagree_are_named(kit, rng, change, message):
    batch = kit.collate([kit.make_row(rng, views=2, objects=3, kinds="caption ground")])
    with pytest.raises(ValueError, match=message):
        kit.make_model()(**batch | change(batch))


def test_unknown_encoder_and_layers_are_refused(kit):
    from transformers import Qwen2Config

    from llava.model.scene_lm import SceneLM, SceneLMConfig

    with pytest.raises(ValueError, match="did you mean 'siglip'"):
        SceneLM(SceneLMConfig(encoder={"name": "sigilp"}))
    with pytest.raises(ValueError, match="sliding_attention"):
        SceneLM(SceneLMConfig(text_config=Qwen2Config(layer_types=["sliding_attention"] * 32)))
