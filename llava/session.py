"""What the commands do: from a recipe's name and a data folder to a checkpoint, scores and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from llava import processes
from llava.loading import find_base, load_checkpoint, start
from llava.recipes import DataConfig, Recipe, get_recipe, load_recipe
from llava.resumable import only_one, write_json

if TYPE_CHECKING:
    from llava.types import Sample

PUBLISHED = "video3d-7b"
EMBEDDED = "rooms"
CHECKPOINTS = "checkpoints"  # where they go unless one says otherwise


@dataclass(frozen=True)
class Training:
    """A training to run."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    data: Path | None  # None until `parse_training` has seen all
    """Data folder; default: data for ScanNet, data-rooms-N for a recipe on N rooms."""
    out: Path
    """Folder for the checkpoint."""


def parse_training(prog: str, args: Sequence[str], default_recipe: Callable[[], str] | None = None) -> Training:
    """RECIPE and overrides, e.g. `rooms --train.packs 500`; without RECIPE the one that `default_recipe` names.

    Raises ValueError for an unknown recipe, and for none where there is no default.
    """
    if args and not args[0].startswith("-"):
        name, *args = args
    elif {"-h", "--help"} & set(args):
        name = EMBEDDED
    elif default_recipe is None:
        raise ValueError(f"say which recipe to train, e.g. `{prog} {EMBEDDED}`")
    else:
        name = default_recipe()
    recipe = get_recipe(name)
    default = Training(recipe, None, Path(CHECKPOINTS) / recipe.name)
    chosen = tyro.cli(Training, prog=f"{prog} {recipe.name}", default=default, args=list(args))
    return replace(chosen, data=data_folder(chosen.recipe)) if chosen.data is None else chosen


def data_folder(recipe: Recipe) -> Path:
    """Where a recipe's data is unless one says otherwise: ScanNet in `data`, rooms in a folder of their own."""
    return Path(f"data-rooms-{recipe.rooms}") if recipe.rooms else Path("data")


def check_data(data: Path, recipe: Recipe) -> None:
    """Raise ValueError, with what to do, where there is no such folder."""
    if not data.is_dir():
        make = f"llava rooms make {data} --scenes {recipe.rooms}"
        remedy = f"make it with `{make}`, then `llava prepare {data}`" if recipe.rooms else "put ScanNet there"
        raise ValueError(f"there is no data folder {data}: {remedy}, or name another one with --data")


def train_recipe(training: Training) -> Path:
    """Train and leave a complete checkpoint in `training.out`, unless the same training has left one there.

    Raises ValueError where another command is training into that folder.
    """
    from llava.model.adapters import merged
    from llava.model.checkpoint import save
    from llava.train import begin, train

    recipe, data, out = training.recipe, training.data, training.out
    settings = settings_of(training)
    out.mkdir(parents=True, exist_ok=True)
    with only_one(out, f"is training into {out}") if processes.is_first() else nullcontext():
        begun = begin(out, settings)
        processes.wait()  # before one of them leaves anything there
        if not begun:
            processes.tell(f"checkpoint: {out}, trained already")
            return out
        model, tokenizer = start(recipe)
        trainer = train(model, tokenizer, recipe, data, out)
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # by all: ZeRO-3 spreads them
        if processes.is_first():
            trainer.save_state()
            save(model, out, tokenizer, recipe.to_dict(), merged(weights, recipe.train.lora_scale))
            print(f"checkpoint: {out}")
        processes.wait()
    return out


def settings_of(training: Training) -> dict[str, Any]:
    """All that the weights of a training depend on.

    Raises ValueError for a base checkpoint or a data folder that is not there, for an unknown task, and for boxes of
    which the recipe's mode could not say which are right.
    """
    from llava.data.contents import contents_digest
    from llava.model.checkpoint import weights_digest

    recipe, data = training.recipe, training.data
    if recipe.mode.targets == "ids" and recipe.data.train_boxes.split("+")[0] != "gt":
        raise ValueError(
            f"--compat {recipe.compat} takes object ids for numbers of ground-truth boxes, and --data.train-boxes "
            f"{recipe.data.train_boxes} offers others: train with gt or gt+pred, or with --compat ours"
        )
    base = find_base(recipe)
    check_data(data, recipe)
    return {
        **recipe.to_dict(),
        "base_weights": weights_digest(base),
        "data_folder": str(data.resolve()),
        "data_contents": contents_digest(data, "train", recipe.data.tasks),
        "processes": processes.count(),  # another number takes other packs a step
    }


def evaluate_checkpoint(
    checkpoint: Path,
    tasks: Sequence[str],
    strategy: str | None = None,
    frames: int | None = None,
    data: Path | None = None,
    results: Path = Path("results"),
    split: str = "val",
    boxes: str | None = None,
    limit: int | None = None,
    compat: str | None = None,
    kv_memory: str | None = None,
) -> dict[str, dict]:
    """Answer and score benchmarks; returns the scores by task, in the first process. See `llava eval --help`."""
    from llava.answering import read_size
    from llava.data.boxes import check_boxes
    from llava.data.contents import contents_digest
    from llava.model.checkpoint import locate, weights_digest
    from llava.predict import Benchmark, Run, evaluate, score
    from llava.tasks import TASKS, find_task
    from llava.train import scene_source

    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of at least 1 scene, got {limit}")
    if not tasks:
        raise ValueError("expected at least one task, got none: name some behind --tasks, or leave it out for all")
    found = [find_task(name) for name in dict.fromkeys(tasks) if name != "all"]
    found = list(TASKS.values()) if "all" in tasks else found
    memory = {} if kv_memory is None else {"kv_memory": read_size(kv_memory)}
    answerer, recipe = load_checkpoint(checkpoint, compat=compat)
    mode = recipe.mode
    data = data_folder(recipe) if data is None else data
    check_data(data, recipe)
    looked = look(recipe, strategy, frames)
    boxes = recipe.data.eval_boxes if boxes is None else boxes
    check_boxes(boxes)
    run = Run(
        model=checkpoint.resolve().name,
        weights=weights_digest(locate(checkpoint)),
        data=str(data.resolve()),
        contents="",  # of each task its own
        split=split,
        strategy=looked.strategy,
        frames=looked.max_frames,
        boxes=boxes,
        mode=recipe.compat,
        blind=recipe.data.blind,
    )
    asked = [(task, of_first_scenes(task.samples(data, split), limit)) for task in found]
    # Texts need no boxes to choose from, and SQA3D's test scenes, which lie in ScanNet's val, have none of that split.
    offered = boxes if any(task.kind == "box" for task in found) else "none"
    source = scene_source(data, split, replace(recipe, data=looked), offered, mode.evaluation)
    source.expect(sample for _, samples in asked for sample in samples)
    name, benchmarks = run_name(checkpoint, recipe, strategy, frames, split, boxes, limit, compat), []
    for task, samples in asked:
        made = replace(run, boxes=task.boxes(split, boxes), contents=contents_digest(data, split, [task.name]))
        out = results / task.name / f"{name}.jsonl"
        benchmarks.append(Benchmark(task.name, samples, made, out))
    evaluate(replace(answerer, **memory), source, benchmarks)
    scores = {}
    if processes.is_first():
        scores = {b.task: score(b.task, b.out, b.run, data) for b in benchmarks}
    processes.wait()
    return scores


def of_first_scenes(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """The questions about the first so many scenes, or about all."""
    first = set(list(dict.fromkeys(sample.scene for sample in samples))[:limit])
    return [sample for sample in samples if sample.scene in first]


def look(recipe: Recipe, strategy: str | None = None, frames: int | None = None) -> DataConfig:
    """How a recipe looks at scenes, with another choice of frames where one is given; ValueError for an unknown one."""
    from llava.frames import canonical_strategy

    return replace(
        recipe.data,
        strategy=canonical_strategy(recipe.data.strategy if strategy is None else strategy),
        max_frames=recipe.data.max_frames if frames is None else frames,
    )


def run_name(
    checkpoint: Path,
    recipe: Recipe,
    strategy: str | None = None,
    frames: int | None = None,
    split: str = "val",
    boxes: str | None = None,
    limit: int | None = None,
    compat: str | None = None,
) -> str:
    """Name of a run's files in results/<benchmark>/, e.g. `rooms-mc-8`; what is not as usual is added to it."""
    looked, folder = look(recipe, strategy, frames), checkpoint.resolve()
    return "-".join(
        [
            *([folder.parent.name] if folder.parent.name != CHECKPOINTS else []),
            *(folder.name, looked.strategy, str(looked.max_frames)),
            *([split] if split != "val" else []),
            *([boxes] if boxes not in (None, recipe.data.eval_boxes) else []),
            *([f"first{limit}"] if limit is not None else []),
            *([compat] if compat is not None else []),
        ]
    )


def report_run(
    checkpoint: Path,
    strategy: str | None,
    frames: int | None,
    data: Path | None,
    results: Path,
    split: str,
    boxes: str | None,
    limit: int | None,
    compat: str | None = None,
) -> Path:
    """Gather the answers and scores of a checkpoint into a report; returns the page."""
    from llava.model.checkpoint import locate
    from llava.report import make_report

    source = locate(checkpoint)
    recipe = load_recipe(source)
    folder = results / run_name(checkpoint, recipe, strategy, frames, split, boxes, limit, compat)
    return make_report(folder, data_folder(recipe) if data is None else data, source)


def run_everything(args: Sequence[str]) -> Path:
    """Data, training, a blind twin, evaluation and the report; every step goes on where a killed run stopped.

    Several processes train and answer together; data, scores and the report are made by the first of them.
    Without a recipe's name the published recipe is trained where that can be done, else `rooms`. A data folder that
    holds anything already is used as it is, or finished as it was begun.
    """
    training = parse_training("llava run", args, default_recipe=trainable_recipe)
    recipe, data, out = training.recipe, training.data, training.out
    if recipe.rooms and processes.is_first():
        from llava.prepare.run import prepare
        from llava.rooms.make import provide_rooms

        provide_rooms(data, recipe.rooms)
        prepare(data)
    processes.wait()
    train_recipe(training)
    evaluate_checkpoint(out, recipe.data.tasks, data=data)
    baselines = {"blind": blind_scores(training)} if recipe.blind_packs else {}
    folder = Path("results") / run_name(out, recipe)
    if processes.is_first():
        conclude(folder, training, {"majority": majority_scores(recipe, data), **baselines})
    processes.wait()
    return folder


def conclude(folder: Path, training: Training, baselines: dict[str, dict]) -> None:
    """Write the report of a run into `folder`, and print its table."""
    from rich.console import Console

    from llava.report import make_report, scores_table

    write_json(folder / "baselines.json", baselines)
    page = make_report(folder, training.data, training.out)
    Console().print(scores_table(folder))
    print(f"report: {page}")


def trainable_recipe() -> str:
    """The published recipe where it has a base and `data` is a complete ScanNet, else the one on rooms; says why."""
    if not scannet_is_complete():
        reason = "no complete ScanNet in the folder `data` (`llava doctor data` says what is missing)"
    elif get_recipe(PUBLISHED).base is None:
        start = f"`llava run {PUBLISHED} --base FOLDER`"
        reason = f"ScanNet is complete, but {PUBLISHED!r} has no base checkpoint to start from ({start} names one)"
    else:
        return PUBLISHED
    processes.tell(f"{reason}: training {EMBEDDED!r}")
    return EMBEDDED


def scannet_is_complete() -> bool:
    """Whether all is in `data` that training on ScanNet needs."""
    from llava.prepare.doctor import doctor

    try:
        return doctor(Path("data")).complete
    except ValueError:  # no such folder, or one of something else
        return False


def blind_scores(training: Training) -> dict[str, dict[str, float]]:
    """Train the recipe's twin that never sees a scene, for fewer steps, and score what it can guess."""
    recipe = training.recipe
    blind = replace(
        recipe,
        name=f"{recipe.name}-blind",
        data=replace(recipe.data, blind=True),
        train=replace(recipe.train, packs=recipe.blind_packs),
    )
    out = training.out.with_name(f"{training.out.name}-blind")
    train_recipe(Training(blind, training.data, out))
    return evaluate_checkpoint(out, recipe.data.tasks, data=training.data)


def majority_scores(recipe: Recipe, data: Path) -> dict[str, dict[str, float]]:
    """What the most common training answer to each kind of question scores."""
    from llava.metrics.answers import majority
    from llava.tasks import TASKS

    text = [TASKS[name] for name in recipe.data.tasks if name in ("scanqa", "sqa3d")]
    train = [s for task in text for s in task.samples(data, "train")]
    val = [s for task in text for s in task.samples(data, "val")]
    return majority(train, val)
