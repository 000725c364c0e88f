"""Weight files of a checkpoint folder, a tensor at a time: safetensors, or PyTorch's .bin, of which no code is run."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from llava.resumable import read_json

REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # as PyTorch tells of what its unpickler does not call
KINDS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; empty where it holds none.

    Raises ValueError when a file that the index names is not there, or the index is damaged.
    """
    for name in KINDS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            files = [folder / name for name in sorted(set(_weight_map(index).values()))]
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise ValueError(f"{index} names files that are not there: {', '.join(missing)}; get them too")
            return files
    return []


def _weight_map(index: Path) -> dict[str, str]:
    """{tensor: file} of an index; ValueError where it tells no such thing."""
    content = read_json(index)
    files = content.get("weight_map") if isinstance(content, dict) and "metadata" in content else None
    if not isinstance(files, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in files.values()
    ):
        raise ValueError(
            f'{index} is no index of weights: expected {{"metadata": {{...}}, "weight_map": {{tensor: file of this '
            "folder}}: get it again"
        )
    return files


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a folder, by its stored name; reads no weights.

    Raises ValueError as `weight_files` and `read_tensors`, and when there are none.
    """
    files = weight_files(folder)
    if not files:
        present = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(
            f"{folder} holds no weights: expected {' or '.join(KINDS)}, whole or in shards; found {present}"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        if path.suffix == ".bin":
            shapes |= {name: tuple(tensor.shape) for name, tensor in read_tensors(path)}
            continue
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(_damaged(path, error)) from error
    return shapes


def read_tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of one file, each read when its turn comes.

    Raises ValueError for a file that is damaged, or a .bin that holds anything else than tensors.
    """
    try:
        if path.suffix == ".bin":
            mapped = zipfile.is_zipfile(path)  # files of old PyTorch are none, and are read whole
            yield from _tensors(path, torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))
        else:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    yield name, file.get_tensor(name)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error


def _tensors(path: Path, content: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected tensors by name, found {type(content).__name__}: get it again")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"{path}: expected tensors by name, found {type(tensor).__name__} under {name!r}: keep the model's "
                "state_dict only"
            )
        yield name, tensor


def _damaged(path: Path, error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    found = REFUSED.search(text)
    if found is not None:
        return f"{path} wants to call {found[1]}, which is refused: weights are tensors, of which no code is run"
    reason = text.partition("WeightsUnpickler error: ")[2].strip().splitlines() or text.splitlines()
    return f"{path} is damaged, cut short, or holds more than tensors ({reason[0].strip()}): copy it or train it again"
