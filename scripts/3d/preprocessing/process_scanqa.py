"""ScanQA's questions -> DATA/processed/scanqa_<split>_llava_style.json, for each split that is there."""

from pathlib import Path

from llava.complaints import run_script
from llava.prepare.run import run_step


def main(data: Path = Path("data")) -> None:
    run_step("records", data, tasks=("scanqa",))


if __name__ == "__main__":
    run_script(main, __doc__)
