"""The `llava` command. Each verb is a function here; what it needs is imported when it runs, so that help is quick."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from llava import processes, scan_verbs
from llava.complaints import complaints

# Heavy imports belong into the functions: `llava --help` must not pay for torch.


def rooms_make(
    out: Path,
    scenes: int = 560,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Make the embedded data set: furnished rooms, written exactly as ScanNet and its benchmarks are.

    Args:
        out: data folder to write (raw half; `llava prepare` makes the rest).
        scenes: how many; a tenth of them, one at least and 60 at most, are held out.
        seed: other seeds give other rooms.
        workers: processes; default: all cores.
    """
    from llava.rooms.make import make_rooms

    make_rooms(out, scenes=scenes, seed=seed, workers=workers)


def rooms_show(out: Positional[Path] = Path("rooms.png"), seed: int = 0, rooms: int = 6) -> None:
    """Draw a contact sheet of some rooms.

    Args:
        out: PNG to write.
        seed: as in `llava rooms make`.
        rooms: how many.
    """
    from llava.rooms.show import preview

    preview(out, seed=seed, rooms=rooms)
    print(out)


def prepare(
    data: Positional[Path] = Path("data"), workers: int | None = None, fast: bool = False, ray: str | None = None
) -> None:
    """Make everything that a data folder still lacks: posed images, boxes, voxels, frame choices, records.

    Args:
        data: folder with the raw data of ScanNet or of `llava rooms make`.
        workers: processes; default: all cores.
        fast: take every tenth frame of all videos, not only of those of 320 frames and more.
        ray: work on the Ray cluster at this address (HOST:PORT, auto, or local to start one here).
    """
    from llava.prepare.run import prepare as run

    run(data, workers=workers, fast=fast, ray=ray)


def doctor(data: Positional[Path] = Path("data")) -> None:
    """Say what a data folder has, what is missing or broken, and where to get it; exit code 1 unless complete.

    Args:
        data: the folder.
    """
    from llava.prepare.doctor import doctor as examine

    report = examine(data)
    print(report)
    if not report.complete:
        sys.exit(1)


def train(args: Sequence[str]) -> None:
    """Train a recipe: `llava train RECIPE [--data DIR] [--out DIR] [overrides]`."""
    from llava.session import parse_training, train_recipe

    train_recipe(parse_training("llava train", args))


def run(args: Sequence[str]) -> None:
    """Data, training, evaluation and report in one go: `llava run [RECIPE] [--data DIR] [--out DIR] [overrides]`."""
    from llava.session import run_everything

    run_everything(args)


def evaluate(
    checkpoint: Path,
    tasks: tuple[str, ...] = ("all",),
    strategy: str | None = None,
    frames: int | None = None,
    data: Path | None = None,
    results: Path = Path("results"),
    split: str = "val",
    boxes: str | None = None,
    limit: int | None = None,
    compat: Literal["ours", "video3d"] | None = None,
    kv_memory: str | None = None,
) -> None:
    """Answer benchmarks with a checkpoint, in one pass over the scenes, and score the answers.

    Args:
        checkpoint: folder made by `llava train`, or one of Video-3D LLM's (a folder, or its id on the hub).
        tasks: benchmarks, by name (scanrefer, multi3drefer, scan2cap, scanqa, sqa3d), or all.
        strategy: frame sampling; default: as in training.
        frames: at most so many frames a scene; default: as in training.
        data: data folder; default: the one of the recipe.
        results: folder for answers and scores.
        split: val, or test where there is one.
        boxes: gt, pred, gt+pred, own or none: the boxes to choose from; own: our own proposals, which need no detector;
            default: as the recipe says. Scan2Cap asks at the boxes that its records hold, whatever is offered.
        limit: only the first so many scenes.
        compat: video3d asks as the published scores were made; default: as the recipe says.
        kv_memory: what the questions that are answered together may take of the device's memory, e.g. 16GB; default:
            4GB. Fewer are answered at once where it is less.
    """
    from llava.session import evaluate_checkpoint

    evaluate_checkpoint(checkpoint, tasks, strategy, frames, data, results, split, boxes, limit, compat, kv_memory)


def score(
    benchmark: Positional[str],
    answers: Positional[Path],
    data: Path | None = None,
    protocol: Literal["published", "strict", "refined"] = "published",
) -> None:
    """Score a file of answers, one JSON object a line: ours, or one that Video-3D LLM's evaluation wrote.

    Args:
        benchmark: scanrefer, multi3drefer, scan2cap, scanqa or sqa3d.
        answers: the jsonl file.
        data: data folder, for what the answers of the original do not say (all right answers, boxes asked at);
            default: the one that ours were made with, else `data`.
        protocol: published: what Video-3D LLM prints. strict: equal answers only; captions of boxes that miss their
            object are emptied. refined: LEO's exact match, cleaned, one within the other.
    """
    from llava.scoring import score_file

    print(score_file(benchmark, answers, data, protocol))


def report(
    checkpoint: Path,
    strategy: str | None = None,
    frames: int | None = None,
    data: Path | None = None,
    results: Path = Path("results"),
    split: str = "val",
    boxes: str | None = None,
    limit: int | None = None,
    compat: Literal["ours", "video3d"] | None = None,
) -> None:
    """Gather a checkpoint's five benchmarks into results/<run>/report.{json,md,html}.

    Args:
        checkpoint: folder that was evaluated.
        strategy: frame sampling of the evaluation; default: as in training.
        frames: frames of the evaluation; default: as in training.
        data: data folder; default: the one of the recipe.
        results: folder of answers and scores.
        split: split of the evaluation.
        boxes: boxes of the evaluation; default: as the recipe says.
        limit: scenes that the evaluation was limited to.
        compat: mode that the evaluation was told.
    """
    from llava.session import report_run

    print(report_run(checkpoint, strategy, frames, data, results, split, boxes, limit, compat))


def export(
    checkpoint: Path,
    out: Path,
    as_: Annotated[Literal["llava_qwen"], tyro.conf.arg(name="as")] = "llava_qwen",
) -> None:
    """Write a checkpoint in the layout that the published code reads: the same weights under its names.

    Args:
        checkpoint: folder made by `llava train`.
        out: folder to write.
        as_: the layout.
    """
    from llava.model.export import export_llava_qwen

    print(export_llava_qwen(checkpoint, out))


def cache(data: Positional[Path | None] = None) -> None:
    """Say what is kept of scenes that were computed, where, and how large it is.

    A scene's resized frames, patch coordinates and the patches of its boxes are computed when they are first needed and
    kept in `.cache` of the data folder, as is what a frozen tower makes of them. All of it can be deleted at any time.
    LLAVA_CACHE in the environment names another folder for it, LLAVA_CACHE_GB bounds it (default: 100; 0: none).

    Args:
        data: data folder; default: all folders here, and the cache of those that cannot be written.
    """
    from llava.data.cache import find_caches, listing

    print(listing(find_caches(data)))


def cache_clear(data: Positional[Path | None] = None, idle: float = 0.0) -> None:
    """Delete what is kept of scenes: it is computed again when it is needed.

    Args:
        data: data folder; default: all folders here, and the cache of those that cannot be written.
        idle: delete only what nothing has read for so many days.
    """
    from llava.data.cache import find_caches

    if not idle >= 0:
        raise ValueError(f"--idle: expected days of at least 0, got {idle:g}")
    for found in find_caches(data):
        print(f"{found.folder}: {found.clear(idle * 24 * 3600) / 1e6:.1f} MB deleted")


def pretrain(args: Sequence[str]) -> None:
    """Make the small base model that `rooms` starts from: `llava pretrain [--out DIR] [overrides]`."""
    from llava.make_base import pretrain_base

    pretrain_base(args)


def plan(args: Sequence[str]) -> None:
    """Say what a training needs and whether it fits: `llava plan RECIPE [--gpus N] [--memory 80] [overrides]`."""
    from llava.plan import plan_training

    plan_training(args)


@dataclass(frozen=True)
class Verb:
    """A command: its words, and what runs it."""

    words: str
    action: Callable
    own_parser: bool = False  # it parses its arguments itself
    spread: bool = False  # it runs in a process for each GPU

    @property
    def summary(self) -> str:
        return (self.action.__doc__ or "").strip().splitlines()[0]


VERBS = (
    Verb("run", run, own_parser=True, spread=True),
    Verb("rooms make", rooms_make),
    Verb("rooms show", rooms_show),
    Verb("prepare", prepare),
    Verb("doctor", doctor),
    Verb("import", scan_verbs.import_),
    Verb("scene info", scan_verbs.scene_info),
    Verb("scene check", scan_verbs.scene_check),
    Verb("scene store", scan_verbs.scene_store),
    Verb("sample", scan_verbs.sample),
    Verb("plan", plan, own_parser=True),
    Verb("train", train, own_parser=True, spread=True),
    Verb("eval", evaluate, spread=True),
    Verb("score", score),
    Verb("report", report),
    Verb("ask", scan_verbs.ask),
    Verb("find", scan_verbs.find),
    Verb("describe", scan_verbs.describe),
    Verb("chat", scan_verbs.chat),
    Verb("view", scan_verbs.view),
    Verb("export", export),
    Verb("cache clear", cache_clear),  # before `cache`: the first that fits is taken
    Verb("cache", cache),
    Verb("pretrain", pretrain, own_parser=True),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a verb. What went wrong for the user's or the machine's reasons is told as `complaints` tells it.

    A reader that has gone away (`llava ... | head`) ends it with code 1 and no word. Ctrl-C ends it by that signal, so
    that a shell's loop ends as well; where torchrun has started several processes it says what it says itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and answers may be in any script, and names in none
    try:
        try:
            _run_verb(list(sys.argv[1:] if argv is None else argv))
        finally:
            if sys.stdout is not None:  # it was closed before
                sys.stdout.flush()  # here, where it can be told that nobody reads it
    except KeyboardInterrupt:
        if processes.is_first():
            print("llava: stopped", file=sys.stderr)
        sys.excepthook = lambda *_: None  # it has been told
        raise
    except BrokenPipeError:
        # As the documentation of `signal` advises: Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run_verb(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return
    verb = next((v for v in VERBS if args[: len(v.words.split())] == v.words.split()), None)
    if verb is None:
        print(f"llava: unknown command {' '.join(args[:2])!r}{_hint(args)}; `llava --help` lists all", file=sys.stderr)
        sys.exit(2)
    rest = args[len(verb.words.split()) :]
    with complaints(f"llava {verb.words}"):
        if verb.spread and not {"-h", "--help"} & set(rest):  # help pays for no import of torch
            processes.spread(args)
        if verb.own_parser:
            verb.action(rest)
        else:
            tyro.cli(verb.action, prog=f"llava {verb.words}", args=rest, config=(tyro.conf.PositionalRequiredArgs,))
    processes.leave()


def overview() -> str:
    """The tour of all commands."""
    width = max(len(verb.words) for verb in VERBS)
    lines = [f"  llava {verb.words:<{width}}  {verb.summary}" for verb in VERBS]
    return "\n".join(
        [
            "Large language models that understand 3D scenes from posed RGB-D video.",
            "",
            *lines,
            "",
            "`llava COMMAND --help` shows a command's options.",
        ]
    )


def _hint(args: Sequence[str]) -> str:
    words = [verb.words for verb in VERBS]
    near = get_close_matches(" ".join(args[:2]), words, n=1) or get_close_matches(args[0], words, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


if __name__ == "__main__":
    main()
