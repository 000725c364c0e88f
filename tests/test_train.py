"""Training on a small data folder: the same run twice, a killed run, packs against samples, parts and their rates."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from llava.data.mixture import Pack, filled, training_plan
from llava.data.pack import PackedScenes, collate
from llava.encoders.siglip_tower import scaled
from llava.loading import load_checkpoint, load_tokenizer
from llava.model.adapters import PROJECTIONS, add_adapters, is_adapter, merged
from llava.model.checkpoint import load_model as load
from llava.recipes import Recipe, new_model
from llava.session import Training, settings_of, train_recipe
from llava.tasks import TASKS
from llava.train import (
    LEARNT_FILE,
    PART_PREFIXES,
    PackTrainer,
    begin,
    freeze,
    last_checkpoint,
    parameter_groups,
    part_of,
    scene_source,
    train,
    training_samples,
)
from llava.train_arguments import find_file, training_arguments
from llava.train_config import PARTS, TrainConfig

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = 4


@pytest.fixture
def run(tiny_base: Path, tiny_recipe: Recipe, rooms_data: Path, tmp_path: Path):
    """Train `tiny_base` for STEPS steps with changed training settings; returns the trainer."""

    def run(out: str = "out", recipe: Recipe = tiny_recipe, **changes) -> PackTrainer:
        recipe = replace(recipe, train=replace(recipe.train, **changes))
        return train(load(tiny_base), load_tokenizer(tiny_base), recipe, rooms_data, tmp_path / out)

    return run


def losses(trainer: PackTrainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def norms(trainer: PackTrainer) -> list[float]:
    return [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]


def differing(a: torch.nn.Module, b: torch.nn.Module) -> set[str]:
    """Names of the parameters that are not the same bit for bit."""
    other = b.state_dict()
    return {name for name, value in a.state_dict().items() if not torch.equal(value, other[name])}


def test_the_same_seed_is_the_same_run(run, tiny_base: Path) -> None:
    first, second, other = run("first"), run("second"), run("other", seed=1, packs=2)
    assert len(losses(first)) == STEPS
    assert losses(first) == losses(second)
    assert differing(first.model, second.model) == set()
    assert losses(other) != losses(first)[:2]
    assert differing(first.model, load(tiny_base)), "it learnt"


KILLED = """
import os, signal, sys
from pathlib import Path
from llava import train
from llava.data.pack import PackedScenes
from llava.model.checkpoint import load_model as load
from llava.recipes import load_recipe
from llava.loading import load_tokenizer

class Deadly(PackedScenes):
    def __getitem__(self, index):
        if index == 3:  # two steps are done: one pack is loaded ahead
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

train.PackedScenes = Deadly
base, data, out = map(Path, sys.argv[1:])
train.train(load(base), load_tokenizer(base), load_recipe(base), data, out)
"""


def test_two_steps_kill_and_resume_are_four_steps(run, tiny_base: Path, rooms_data: Path, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tiny_base, rooms_data, tmp_path / "killed"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [p.name for p in (tmp_path / "killed").glob("checkpoint-*")] == ["checkpoint-2"]
    resumed, straight = run("killed"), run("straight")
    assert resumed.state.global_step == straight.state.global_step == STEPS
    assert losses(resumed) == losses(straight)
    assert differing(resumed.model, straight.model) == set()
    assert [p.name for p in (tmp_path / "killed").glob("checkpoint-*")] and run("killed").state.global_step == STEPS


@pytest.fixture
def training(tiny_base: Path, tiny_recipe: Recipe, rooms_data: Path, tmp_path: Path) -> Training:
    """Two steps from a base and on data that a test may change."""
    base = shutil.copytree(tiny_base, tmp_path / "base")
    data = shutil.copytree(rooms_data, tmp_path / "data")
    recipe = replace(tiny_recipe, base=str(base), train=replace(tiny_recipe.train, packs=2))
    return Training(recipe, data, tmp_path / "out")


def with_settings(training: Training, **changes) -> Training:
    return replace(training, recipe=replace(training.recipe, train=replace(training.recipe.train, **changes)))


def remove_steps(out: Path) -> None:
    for folder in out.glob("checkpoint-*"):
        shutil.rmtree(folder)


@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_of_another_training_is_not_gone_on_with(training: Training, finished: bool) -> None:
    out = train_recipe(training)
    remove_steps(out) if finished else (out / "recipe.json").unlink()
    with pytest.raises(ValueError, match=r"other settings \(they differ in: train; .*give another --out"):
        train_recipe(with_settings(training, lr=1.0))
    base, rooms = Path(training.recipe.base), training.data / ".rooms/making.json"
    for path, part in ((rooms, "data_contents"), (base / "model.safetensors", "base_weights")):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(ValueError, match=rf"they differ in: {part}; training.json has all"):
            train_recipe(training)
        path.write_bytes(content)
    (out / "training.json").unlink()
    with pytest.raises(ValueError, match=r"unknown ones: it has no training.json\): give another --out"):
        train_recipe(training)


def test_a_setting_that_is_new_had_its_default(training: Training) -> None:
    """A training that was begun before there was such a setting goes on."""
    settings = settings_of(training)
    assert begin(training.out, settings)
    noted = json.loads((training.out / "training.json").read_text())
    del noted["train"]["lora_rank"]
    (training.out / "training.json").write_text(json.dumps(noted))
    (training.out / "recipe.json").write_text("{}")
    (training.out / "model.safetensors").write_text("")
    assert not begin(training.out, settings)
    with pytest.raises(ValueError, match="they differ in: train"):
        begin(training.out, {**settings, "train": {**settings["train"], "lora_rank": 8}})


def test_a_finished_training_is_left_alone(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    """Even when the Trainer's checkpoints are deleted, which take most of the disk."""
    out = train_recipe(training)
    remove_steps(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    train_recipe(with_settings(training, log_steps=5))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "trained already" in capsys.readouterr().out


def test_a_training_that_was_killed_before_its_end_is_saved(training: Training) -> None:
    out = train_recipe(training)
    weights = (out / "model.safetensors").read_bytes()
    (out / "recipe.json").unlink()  # saved last
    (out / "model.safetensors").write_bytes(weights[:99])
    train_recipe(training)
    assert (out / "recipe.json").exists() and (out / "model.safetensors").read_bytes() == weights


def test_a_half_written_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    files = {
        3: {"optimizer.pt": "", "trainer_state.json": "{}"},
        20: {"optimizer.pt": "", "trainer_state.json": "{}"},
        100: {"optimizer.pt": "", "trainer_state.json": '{"epo'},
        200: {"optimizer.pt": ""},
        300: {"trainer_state.json": "{}"},
        400: {},
    }
    for step, contents in files.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name, text in contents.items():
            (tmp_path / f"checkpoint-{step}" / name).write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")
    assert last_checkpoint(tmp_path / "nothing") is None


def one_of_each_task(data: Path) -> list:
    """A sample of every task about one scene, box questions with one target and with none among them."""
    samples = training_samples(data, tuple(TASKS))
    scene = samples[0].scene
    chosen = {s.task: s for s in samples if s.scene == scene and (s.boxes is None or len(s.boxes))}
    assert set(chosen) == set(TASKS)
    nothing = next(s for s in samples if s.scene == scene and s.boxes is not None and len(s.boxes) == 0)
    return [*chosen.values(), nothing]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_pack_of_all_tasks_is_its_samples(
    tiny_recipe, tiny_tokenizer, rooms_data, monkeypatch, dtype: torch.dtype, tolerance: float, turn: int
) -> None:
    """Read from the data folder, packed and collated as training does it."""

    def without_cast(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    if dtype == torch.float64:
        monkeypatch.setattr(Qwen2RMSNorm, "forward", without_cast)  # HF computes it in float32
    torch.manual_seed(1)
    model = new_model(tiny_recipe, tiny_tokenizer).to(dtype)
    samples = one_of_each_task(rooms_data)
    indices = tuple(range(len(samples)))
    plan = [Pack(samples[0].scene, indices, turn), *(Pack(samples[0].scene, (i,), turn) for i in indices)]
    source = scene_source(rooms_data, "train", tiny_recipe, "gt+pred", "float32")
    packs = PackedScenes(plan, samples, source, tiny_tokenizer, tiny_recipe.chat)

    def loss_of(index: int) -> torch.Tensor:
        batch = collate([packs[index]])
        batch["scene"] = {k: scaled(v).to(dtype) if k == "pixel_values" else v for k, v in batch["scene"].items()}
        loss = model(**batch, num_branches=len(samples)).loss
        loss.backward()
        return loss.detach()

    def gradients() -> dict[str, torch.Tensor]:
        found = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
        model.zero_grad()
        return found

    together = loss_of(0)
    packed = gradients()
    apart = sum(loss_of(i + 1) for i in indices)
    single = gradients()
    torch.testing.assert_close(together, apart, rtol=tolerance, atol=0)
    largest = max(gradient.norm() for gradient in packed.values())
    for name in packed:
        allowed = tolerance * max(packed[name].norm(), 1e-3 * largest)
        assert (packed[name] - single[name]).norm() <= allowed, name


def test_accumulated_packs_are_one_step(run) -> None:
    """The unit of the loss is the branch, in whatever way the packs of a step are spread over forward passes."""
    # Five packs: the last step has one pack only, and packs of a scene's leftovers have fewer branches.
    settings = {"packs": 5, "questions_per_scene": 40, "turn": False}
    at_once, in_turn = run("a", scenes_per_step=2, **settings), run("b", accumulate=2, **settings)
    assert at_once.state.global_step == in_turn.state.global_step == 3
    # Adam hardly cares for a factor on the loss; the gradient's norm does.
    assert norms(in_turn) == pytest.approx(norms(at_once), rel=1e-3)
    assert losses(in_turn) == pytest.approx(losses(at_once), rel=1e-3)


def test_packs_that_ask_nothing_teach_nothing(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside others in a batch, and alone in one."""
    settings = {"packs": 5, "turn": False}
    plain = run("plain", accumulate=4, **settings)
    monkeypatch.setattr("llava.train.training_plan", lambda *args: filled(training_plan(*args), 12))
    with_empty = run("filled", accumulate=2, scenes_per_step=2, **settings)
    assert (plain.state.global_step, with_empty.state.global_step) == (2, 3)
    assert losses(with_empty) == pytest.approx([*losses(plain), 0], rel=1e-4)
    assert norms(with_empty) == pytest.approx([*norms(plain), 0], rel=1e-4)


SPREAD = """
import json, sys
from dataclasses import replace
from pathlib import Path
from llava import processes
from llava.model.checkpoint import load_model as load
from llava.recipes import load_recipe
from llava.loading import load_tokenizer
from llava.train import train

base, data, out = map(Path, sys.argv[1:4])
kind, changes = sys.argv[4], json.loads(sys.argv[5])
recipe = load_recipe(base)
recipe = replace(recipe, train=replace(recipe.train, **changes))
trainer = train(load(base), load_tokenizer(base), recipe, data, out)
wrapped = type(trainer.model_wrapped).__name__
assert wrapped.startswith(kind) and trainer.args.world_size == 2, wrapped
if processes.is_first():
    (out / "log.json").write_text(json.dumps(trainer.state.log_history))
processes.wait()
processes.leave()
"""


@pytest.fixture
def spread(tiny_base: Path, rooms_data: Path, tmp_path: Path):
    """Train `tiny_base` in two processes; returns the lines of the log that tell of a step."""

    def spread(kind: str, before: str = "", **changes) -> list[dict]:
        (tmp_path / "spread.py").write_text(before + SPREAD)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        done = subprocess.run(
            [*launch, tmp_path / "spread.py", tiny_base, rooms_data, tmp_path / "two", kind, json.dumps(changes)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [line for line in json.loads((tmp_path / "two/log.json").read_text()) if "grad_norm" in line]

    return spread


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_packs(run, spread) -> None:
    """And not two trainings side by side, which is what the Trainer does on a CPU unless told."""
    log = spread("DistributedDataParallel", packs=5, turn=False)
    one = run("one", packs=5, turn=False, scenes_per_step=2)
    assert len(log) == 3  # the fifth pack makes a step too, to which the second process adds nothing
    assert [line["loss"] for line in log] == pytest.approx(losses(one), rel=1e-4)
    assert [line["grad_norm"] for line in log] == pytest.approx(norms(one), rel=1e-4)


# Accelerate shards on GPUs only. Told that it has some, it shards over gloo all the same.
AS_IF_ON_GPUS = """
from accelerate.state import AcceleratorState, DistributedType, PartialState

said = AcceleratorState.__init__

def spoken(self, *args, **kwargs):
    if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    said(self, *args, **kwargs)

AcceleratorState.__init__ = spoken
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "before", "way"),
    [
        ("DistributedDataParallel", "", {}),
        ("DistributedDataParallel", "", {"lora_rank": 4, "lora_alpha": 8.0}),
        ("FSDP", AS_IF_ON_GPUS, {"fsdp": "scripts/fsdp2.json"}),
        ("DeepSpeedEngine", "", {"deepspeed": "scripts/zero2.json"}),
        ("DeepSpeedEngine", "", {"deepspeed": "scripts/zero3.json"}),
    ],
    ids=["ddp", "lora", "fsdp2", "zero2", "zero3"],
)
def test_the_global_batch_fixes_the_losses(run, spread, kind: str, before: str, way: dict) -> None:
    """In two processes, two passes a step each, as in one process with four: whatever is spread over them."""
    if "deepspeed" in way:
        pytest.importorskip("deepspeed", reason="DeepSpeed is an extra (pip install -e '.[gpu]')")
    settings = {"packs": 11, "turn": False, "global_batch": 4, "max_grad_norm": 0.5}  # the last step has three
    one = run("one", **settings, **{name: value for name, value in way.items() if name.startswith("lora")})
    log = spread(kind, before, **settings, **way)
    assert len(log) == 3
    assert [line["loss"] for line in log] == pytest.approx(losses(one), rel=1e-4)
    assert [line["grad_norm"] for line in log] == pytest.approx(norms(one), rel=1e-3)


def test_the_global_batch_is_made_of_passes() -> None:
    published = TrainConfig(global_batch=16)
    assert [published.passes(processes) for processes in (1, 2, 8, 16)] == [16, 8, 2, 1]
    assert replace(published, scenes_per_step=4).passes(2) == 2
    assert TrainConfig(accumulate=3).passes(5) == 3
    with pytest.raises(ValueError, match=r"global_batch is 16, which 3 processes cannot make .* a multiple of 3"):
        published.passes(3)
    with pytest.raises(ValueError, match="say the same twice"):
        replace(published, accumulate=2).passes(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deepspeed": "scripts/zero3.json", "fsdp": "scripts/fsdp2.json"}, "two ways of one thing"),
        ({"fsdp": "scripts/fsdp2.json", "lora_rank": 4}, "adapters need no FSDP"),
        ({"fsdp": "scripts/fsdp2.json", "lr_matrices": 1e-3}, r"\(Muon\) needs whole matrices, and FSDP cuts them up"),
        ({"deepspeed": "scripts/zero3.json", "lr_matrices": 1e-3}, r"\(Muon\) .*, and DeepSpeed cuts them up"),
        ({"fsdp": "scripts/fsdp2.json"}, "train.fsdp spreads the model over GPUs, .* this is the only process"),
    ],
)
def test_sharding_that_cannot_be(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        training_arguments(TrainConfig(**changes), tmp_path, 1)


def test_a_sharding_file_is_found_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file("scripts/zero3.json") == REPOSITORY / "scripts/zero3.json"
    with pytest.raises(ValueError, match=r"there is no file 'scripts/none.json': looked in"):
        find_file("scripts/none.json")


def test_adapters_learn_in_place_of_the_language_model(training: Training) -> None:
    """What is saved, at the end and on the way, has them merged, and answers as the model that learnt."""
    changed = with_settings(training, lora_rank=4, lora_alpha=8.0, lr=1e-2, save_steps=1)
    out = train_recipe(changed)
    before, after = load(Path(training.recipe.base)), load(out)
    moved = {name for name in differing(after, before) if part_of(name) == "language"}
    language = [name for name in after.state_dict() if part_of(name) == "language"]
    assert moved == {n for n in language if n.endswith("weight") and n.split(".")[-2] in PROJECTIONS}
    assert differing(load(out / "checkpoint-2"), after) == set()
    learnt = load_file(out / "checkpoint-2" / LEARNT_FILE)
    assert any(is_adapter(name) for name in learnt) and {part_of(name) for name in learnt} >= {"head", "projector"}


def test_adapters_are_gone_on_with(training: Training) -> None:
    settings = {"lora_rank": 4, "lora_alpha": 8.0, "lr": 1e-2, "save_steps": 1}
    straight = train_recipe(with_settings(training, **settings))
    resumed = shutil.copytree(straight, training.out.with_name("resumed"))
    shutil.rmtree(resumed / "checkpoint-2")
    (resumed / "recipe.json").unlink()
    train_recipe(with_settings(replace(training, out=resumed), **settings))
    assert differing(load(resumed), load(straight)) == set()


def test_a_merged_adapter_computes_the_same(tiny_base: Path) -> None:
    model = load(tiny_base)
    add_adapters(model, rank=3, alpha=6.0)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter, std=0.1)
    plain = load(tiny_base)
    unmoved = plain.read(*(inputs := (torch.randn(1, 5, 48), torch.arange(5)[None], None)))
    plain.load_state_dict(merged(model.state_dict(), 2.0))
    with torch.no_grad():
        torch.testing.assert_close(plain.read(*inputs), model.read(*inputs), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(unmoved, model.read(*inputs), atol=1e-2)


def test_logs_tell_words_from_boxes(run) -> None:
    (first, *_) = [line for line in run(packs=1).state.log_history if "loss" in line]
    assert min(first["lm_loss"], first["ground_loss"]) < first["loss"] < max(first["lm_loss"], first["ground_loss"])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"gradient_checkpointing": True}, {"workers": 1}])
def test_ways_of_computing_agree(run, changes: dict) -> None:
    plain, other = run("plain", packs=2), run("other", packs=2, **changes)
    assert losses(other) == pytest.approx(losses(plain), rel=2e-2 if "precision" in changes else 1e-4)


def test_the_blind_learn_without_a_scene(run, tiny_recipe: Recipe, tiny_base: Path) -> None:
    blind = run(recipe=replace(tiny_recipe, data=replace(tiny_recipe.data, blind=True)), packs=2)
    changed = differing(blind.model, load(tiny_base))
    assert changed
    assert {part_of(name) for name in changed} & {"tower", "projector"} == set()


def test_every_parameter_has_its_part(tiny_base: Path) -> None:
    assert set(PART_PREFIXES) == {*PARTS, "unused"}
    model = load(tiny_base, positions={"kind": "mlp"})
    parts = {part: {n.split(".")[0] for n, _ in model.named_parameters() if part_of(n) == part} for part in PARTS}
    assert parts == {
        "tower": {"encoder"},
        "projector": {"encoder", "newline"},
        "positions": {"positions"},
        "head": {"ground_head"},
        "language": {"language_model"},
    }


@pytest.mark.parametrize("tune", [("head",), ("projector", "language"), PARTS])
def test_only_tuned_parts_change(run, tiny_base: Path, tune: tuple[str, ...]) -> None:
    trained = run(tune=tune, lr_tower=1e-3, packs=2).model
    moved = {part_of(name) for name in differing(trained, load(tiny_base))}
    assert moved == set(tune) - {"positions"}  # sin3d has nothing to learn


def test_an_unknown_part(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match="unknown part heads, towr; the parts are tower, projector"):
        freeze(load(tiny_base), ("towr", "heads", "language"))


def test_each_part_has_its_rate(tiny_base: Path, tiny_recipe: Recipe) -> None:
    model = load(tiny_base)
    freeze(model, ("tower", "projector", "language", "head"))
    config = replace(tiny_recipe.train, lr=3e-4, lr_tower=1e-4, lr_projector=2e-4, weight_decay=0.1)
    groups = parameter_groups(model, config)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    rates = {"tower": 1e-4, "projector": 2e-4}
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(learning)
    for name, parameter in learning.items():
        decay = 0.1 if parameter.ndim >= 2 else 0.0
        assert found[id(parameter)] == (rates.get(part_of(name), 3e-4), decay), name


def test_matrices_of_the_language_models_layers_have_their_own_rate(tiny_base: Path, tiny_recipe: Recipe) -> None:
    model = load(tiny_base)
    freeze(model, PARTS)
    groups = parameter_groups(model, replace(tiny_recipe.train, lr=3e-4, lr_matrices=5e-3))
    found = {id(p): (group["lr"], group["muon"]) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.startswith("language_model.model.layers.") and parameter.ndim == 2
        assert found[id(parameter)][1] == inside, name
        assert (found[id(parameter)][0] == 5e-3) == inside, name


def test_the_optimizer_is_given_these_rates(run) -> None:
    trainer = run(packs=1, lr=3e-4, lr_tower=1e-4, lr_projector=2e-4, tune=PARTS)
    assert {group["initial_lr"] for group in trainer.optimizer.param_groups} == {3e-4, 1e-4, 2e-4}


def test_training_leaves_a_whole_checkpoint(tiny_base: Path, tiny_recipe: Recipe, rooms_data, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, base=str(tiny_base), train=replace(tiny_recipe.train, packs=2))
    out = train_recipe(Training(recipe, rooms_data, tmp_path / "out"))
    for name in ("config.json", "model.safetensors", "tokenizer.json", "recipe.json", "trainer_state.json"):
        assert (out / name).exists(), name
    assert json.loads((out / "recipe.json").read_text()) == json.loads(json.dumps(recipe.to_dict()))
    answerer, read = load_checkpoint(out)
    assert read == recipe
    assert answerer.tokenizer.get_vocab() == load_tokenizer(tiny_base).get_vocab()
    on_the_way, read = load_checkpoint(out / "checkpoint-2")
    assert read == recipe and differing(on_the_way.model, answerer.model) == set()


def test_what_is_saved_is_what_the_processes_gathered(
    tiny_base: Path, tiny_recipe: Recipe, rooms_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ZeRO-3 a process's own model holds a share of the parameters; only the accelerator knows the whole."""

    def gathered(self, model: torch.nn.Module, unwrap: bool = True) -> dict[str, torch.Tensor]:
        return {name: torch.full_like(value, 0.5) for name, value in model.state_dict().items()}

    monkeypatch.setattr("accelerate.Accelerator.get_state_dict", gathered)
    recipe = replace(tiny_recipe, base=str(tiny_base), train=replace(tiny_recipe.train, packs=1))
    saved = load(train_recipe(Training(recipe, rooms_data, tmp_path / "out")))
    assert all((parameter == 0.5).all() for parameter in saved.parameters())


def test_another_number_of_processes_does_not_go_on(
    tiny_base: Path, tiny_recipe: Recipe, rooms_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step would take other packs."""
    recipe = replace(tiny_recipe, base=str(tiny_base), train=replace(tiny_recipe.train, packs=1))
    training = Training(recipe, rooms_data, tmp_path / "out")
    train_recipe(training)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"other settings \(they differ in: processes; "):
        train_recipe(training)


def test_samples_without_a_place_are_left_out(rooms_data: Path) -> None:
    samples = training_samples(rooms_data, ("scan2cap", "scanqa"))
    assert {s.task for s in samples} == {"scan2cap", "scanqa"}
    assert all(s.coord is not None for s in samples if "<coord>" in s.question)
    with pytest.raises(ValueError, match=r"unknown task 'scanqua'.*did you mean 'scanqa'"):
        training_samples(rooms_data, ("scanqua",))
