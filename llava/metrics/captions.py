"""BLEU, CIDEr, ROUGE-L and METEOR of free text, by pycocoevalcap.

Texts are scored as they are given: each benchmark has its own way of cutting words, and it is part of the score.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycocoevalcap.meteor.meteor import Meteor

log = logging.getLogger(__name__)


def score_captions(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Score one candidate text an item against the item's reference texts.

    Returns (totals, items), both keyed by bleu1..bleu4, cider, rouge_l and, where `java` is on PATH, meteor; times
    100. BLEU's total is the corpus score, the others are means over items. Words are what blanks separate. Raises
    ValueError for an item without a reference or for lists of two lengths.
    """
    if len(references) != len(candidates):
        raise ValueError(f"{len(candidates)} texts cannot be scored against references of {len(references)} items")
    for i, texts in enumerate(references):
        if len(texts) == 0:
            raise ValueError(f"item {i} of {len(references)} has no reference text to score against")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gold = {i: [_one_line(text) for text in texts] for i, texts in enumerate(references)}
    said = {i: [_one_line(text)] for i, text in enumerate(candidates)}
    results = {}
    bleu, bleu_items = Bleu(4).compute_score(gold, said, verbose=0)
    for n in range(4):
        results[f"bleu{n + 1}"] = bleu[n], bleu_items[n]
    results["cider"] = Cider().compute_score(gold, said)
    results["rouge_l"] = Rouge().compute_score(gold, said)
    meteor = _meteor()
    if meteor is not None:
        results["meteor"] = meteor.compute_score(gold, said)
    totals = {name: 100.0 * float(total) for name, (total, _) in results.items()}
    return totals, {name: [100.0 * float(value) for value in items] for name, (_, items) in results.items()}


@lru_cache(maxsize=1)
def _meteor() -> Meteor | None:
    """One Java process for all of a program's METEOR scores (starting it takes longer than scoring)."""
    if shutil.which("java") is None:
        log.warning("METEOR is left out: it needs `java` on PATH (Debian: apt-get install default-jre-headless)")
        return None
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()


def _one_line(text: str) -> str:
    """METEOR's process reads one line a text and hangs on a second; no other score tells a line break from a blank."""
    return text.replace("\r", " ").replace("\n", " ")
