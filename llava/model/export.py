"""From a checkpoint to a folder that the published code reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file

from llava.model.checkpoint import is_published, locate, read_config
from llava.model.llava_qwen import read_llava_qwen_config, their_name, write_llava_qwen_config
from llava.model.scene_lm import SceneLMConfig
from llava.model.weights import read_shapes, read_tensors, weight_files
from llava.resumable import replaced, write_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)


def export_llava_qwen(checkpoint: str | Path, out: Path) -> Path:
    """Write a checkpoint as a folder of model type llava_qwen: the same tensors, bit for bit, under published names.

    One file of weights is held in memory at a time. A checkpoint that is such a folder already is written again,
    with its configuration as it is.

    Args:
        checkpoint: a folder or a hub id, as for `load_model`.
        out: a folder that is not there yet.

    Raises:
        ValueError: `out` exists, the checkpoint is none, or the model has what the published code lacks.
    """
    if out.exists() or out.is_symlink():
        raise ValueError(f"{out} exists already: name a folder that does not, or delete it")
    folder = locate(checkpoint)
    raw = read_config(folder)
    if is_published(folder, raw):
        config, vision = read_llava_qwen_config(folder, raw), None
        rename = str
    else:
        config = SceneLMConfig.from_pretrained(folder)
        raw, vision = write_llava_qwen_config(config)
        rename = their_name
    names = {name: rename(name) for name in read_shapes(folder)}
    files = weight_files(folder)
    with replaced(out) as partial:
        partial.mkdir(parents=True)
        placed: dict[str, str] = {}
        size = 0
        for number, path in enumerate(files, start=1):
            tensors = {names[name]: tensor.contiguous() for name, tensor in read_tensors(path)}
            shard = f"model-{number:05d}-of-{len(files):05d}.safetensors" if len(files) > 1 else "model.safetensors"
            save_file(tensors, partial / shard, metadata={"format": "pt"})
            placed |= dict.fromkeys(tensors, shard)
            size += sum(tensor.nbytes for tensor in tensors.values())
        if len(files) > 1:
            write_json(
                partial / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": placed}
            )
        write_json(partial / "config.json", raw)
        if vision is not None:
            write_json(partial / "vision_config.json", vision)
        for name in (*TOKENIZER_FILES, *(["vision_config.json"] if vision is None else [])):
            if (folder / name).exists():
                shutil.copyfile(folder / name, partial / name)
    return out
