"""Weight files of a checkpoint folder, a tensor at a time: safetensors, or PyTorch's .bin, of which no code is run."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from llava.resumable import read_json

KINDS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; empty where it holds none.

    Raises ValueError when a file that the index names is not there, or the index is damaged.
    """
    for name in KINDS:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            files = [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
            missing = [path.name for path in files if not path.exists()]
            if missing:
                raise ValueError(f"{index} names files that are not there: {', '.join(missing)}; get them too")
            return files
    return []


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
            yield from torch.load(path, map_location="cpu", weights_only=True, mmap=mapped).items()
        else:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    yield name, file.get_tensor(name)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{path} is damaged, cut short, or holds more than tensors ({reason}): copy it or train it again"
