"""Where the files of a data folder lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")
VOXEL_SIZE = 0.1  # metres; part of a file name


@dataclass(frozen=True)
class Layout:
    """The paths of one data folder. Names are ScanNet's and Video-3D LLM's, so that theirs can be put in place.

    Raises ValueError where there is no such folder.
    """

    data: Path

    def __post_init__(self) -> None:
        if not self.data.is_dir():
            raise ValueError(f"{self.data} is no folder: give the data folder, which holds scannet/ and benchmark/")

    def scan(self, scene: str) -> Path:
        return self.data / "scannet" / "scans" / scene

    def sens(self, scene: str) -> Path:
        return self.scan(scene) / f"{scene}.sens"

    def mesh(self, scene: str) -> Path:
        return self.scan(scene) / f"{scene}_vh_clean_2.ply"

    def segments(self, scene: str) -> Path:
        return self.scan(scene) / f"{scene}_vh_clean_2.0.010000.segs.json"

    def aggregation(self, scene: str) -> Path:
        return self.scan(scene) / f"{scene}.aggregation.json"

    def scan_txt(self, scene: str) -> Path:
        return self.scan(scene) / f"{scene}.txt"

    def mask(self, scene: str) -> Path:
        return self.data / "scannet" / "mask" / f"{scene}.mask.npz"

    def labels(self) -> Path:
        return self.data / "scannet" / "meta_data" / "scannetv2-labels.combined.tsv"

    def split_list(self, split: str) -> Path:
        return self.data / "scannet" / "meta_data" / f"scannetv2_{split}.txt"

    def infos(self, split: str) -> Path:
        return self.data / "embodiedscan" / f"embodiedscan_infos_{split}.pkl"

    def posed_images(self, scene: str) -> Path:
        return self.data / "scannet" / "posed_images" / scene

    def points(self, split: str, scene: str) -> Path:
        return self.data / "scannet" / "pcd_with_object_aabbs" / split / f"{scene}.pth"

    def boxes(self, split: str, kind: str) -> Path:
        return self.data / "metadata" / f"scannet_{split}_{kind}_box.json"

    def object_ids(self, split: str) -> Path:
        return self.data / "metadata" / f"scannet_{split}_gt_object_ids.json"

    def voxels(self) -> Path:
        return self.data / "metadata" / f"pcd_discrete_{VOXEL_SIZE}.pkl"

    def selection(self) -> Path:
        return self.data / "metadata" / "scannet_select_frames.json"

    def splits(self) -> dict[str, list[str]]:
        """{split: scene names} of the split lists; ValueError when there is none or one names a scene twice."""
        found = {split: self.split_list(split) for split in SPLITS if self.split_list(split).exists()}
        if not found:
            folder = self.split_list("train").parent
            raise ValueError(
                f"{folder} has none of ScanNet's lists scannetv2_{{train,val,test}}.txt: get them with ScanNet, "
                "or make rooms with `llava rooms make`"
            )
        try:
            scenes = {split: path.read_text(encoding="utf-8-sig").split() for split, path in found.items()}
        except UnicodeDecodeError as error:
            raise ValueError(
                f"a list in {self.split_list('train').parent} is no text ({error}): get it again"
            ) from error
        seen: dict[str, str] = {}
        for split, names in scenes.items():
            for name in names:
                if name in seen:
                    raise ValueError(
                        f"{found[split]}: {name} is already in the {seen[name]} list; a scene has one split"
                    )
                seen[name] = split
        return scenes
