"""What every test shares: one torch thread, the reference's recordings, a small data folder and a tiny checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from llava.answering import Answerer
    from llava.data.scenes import SceneSource
    from llava.recipes import Recipe

# Before any test imports numpy or torch: several processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=SHARED / "golden",
        metavar="DIR",
        help="folder with the reference's recorded inputs and outputs (default: ../shared/golden)",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=10,
        metavar="N",
        help="kill each command of tests/test_killed.py N times (default: 10)",
    )


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """``golden(name)`` is that file or folder of the recordings; the test skips where it is absent."""

    def find(name: str) -> Path:
        path = pytestconfig.getoption("--golden") / name
        if not path.exists():
            pytest.skip(f"no recordings of the reference at {path} (pytest --golden DIR names another folder)")
        return path

    return find


@pytest.fixture(scope="session")
def rooms_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data folder of four small rooms, one of them held out. Read-only: copy it to change it."""
    from llava.prepare.run import prepare
    from llava.rooms.make import make_rooms

    data = make_rooms(tmp_path_factory.mktemp("data"), 4, val=1, frames=4, size=(96, 72), workers=1)
    prepare(data, workers=1)
    return data


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """`rooms` at a size that trains in seconds on a CPU."""
    from llava.encoders.siglip import Siglip
    from llava.model.language import Language
    from llava.recipes import get_recipe

    rooms = get_recipe("rooms")
    return replace(
        rooms,
        name="tiny",
        encoder=Siglip().debug(),
        language=Language(
            hidden_size=48, intermediate_size=80, num_layers=2, num_heads=4, num_kv_heads=2, tie_embeddings=True
        ),
        data=replace(rooms.data, max_frames=2),
        train=replace(
            rooms.train, packs=4, questions_per_scene=6, precision="fp32", log_steps=1, save_steps=2, report_to=()
        ),
    )


@pytest.fixture(scope="session")
def tiny_tokenizer(rooms_data: Path) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of `rooms_data`."""
    from llava.data.tokenizer import train_tokenizer
    from llava.tasks import TASKS

    samples = [sample for task in TASKS.values() for sample in task.samples(rooms_data, "train")]
    return train_tokenizer((f"{s.question}\n{s.answer}" for s in samples), vocab_size=600)


@pytest.fixture(scope="session")
def tiny_base(
    tiny_recipe: Recipe, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole checkpoint of `tiny_recipe` with random weights."""
    import torch

    from llava.model.checkpoint import save
    from llava.recipes import new_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "tiny-base"
    save(new_model(tiny_recipe, tiny_tokenizer), folder, tiny_tokenizer, asdict(tiny_recipe))
    return folder


@pytest.fixture(scope="session")
def source(tiny_recipe, rooms_data: Path) -> SceneSource:
    """The training scenes, with their true boxes."""
    from llava.train import scene_source

    return scene_source(rooms_data, "train", tiny_recipe, "gt", "float32")


@pytest.fixture(scope="session")
def talkative(tiny_base: Path) -> Answerer:
    """A model to be asked; with fresh weights and tied embeddings every token would be followed by itself."""
    import torch

    from llava.loading import load_checkpoint

    answerer = load_checkpoint(tiny_base)[0]
    torch.manual_seed(0)
    head = answerer.model.language_model.lm_head
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    for name, parameter in answerer.model.named_parameters():
        if ".layers." in name and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return answerer


@pytest.fixture(scope="session")
def tiny_flags(tiny_recipe: Recipe, tiny_base: Path) -> list[str]:
    """What makes `rooms` on the command line a recipe for `tiny_base`."""
    flags = {"base": tiny_base, "data.max-frames": tiny_recipe.data.max_frames}
    flags |= {f"encoder.{name}": value for name, value in vars(tiny_recipe.encoder).items()}
    flags |= {f"language.{name}": value for name, value in vars(tiny_recipe.language).items()}
    assert flags.pop("language.tie_embeddings")  # a switch, and as in `rooms`
    return [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
