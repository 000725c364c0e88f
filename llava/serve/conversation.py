"""What was asked about a scan and answered, in order: one question at a time reaches the model."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from llava.complaints import complaint
from llava.found import nothing

if TYPE_CHECKING:
    from llava.scan import Found, Scan

Verb = Literal["ask", "find", "describe"]
MOST_TURNS = 40  # remembered; older ones are forgotten once they are answered


@dataclass(frozen=True)
class Turn:
    """A question, and what has become of it."""

    number: int
    verb: Verb
    question: str  # of "describe": empty
    place: tuple[float, float, float] | None = None  # of "describe": world metres
    state: Literal["waiting", "thinking", "answered", "failed"] = "waiting"
    answer: str = ""  # or what went wrong
    found: tuple[Found, ...] = ()  # of "find", best first


@dataclass
class Conversation:
    """The turns so far, shared by all who look; questions wait for each other.

    ``changed`` is called with a turn whenever it is new or has another state, one call at a time; ``forgotten`` with
    one that is too old to be kept.
    """

    scan: Scan
    changed: Callable[[Turn], None]
    forgotten: Callable[[Turn], None]
    turns: dict[int, Turn] = field(default_factory=dict)
    _asked: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "questions"))

    def put(self, verb: Verb, question: str = "", place: tuple[float, float, float] | None = None) -> Future[Turn]:
        """Ask as soon as all questions before it are answered. The turn comes when it is: a failure is one, too."""
        with self._lock:
            self._asked += 1
            turn = Turn(self._asked, verb, question.strip(), place)
            self._keep(turn)
            done: Future[Turn] = Future()
            answering = self._worker.submit(self._answer, turn)
        answering.add_done_callback(lambda answered: self._told(turn, answered, done))
        return done

    def close(self) -> None:
        """Answer nothing more; the question that is being answered ends first."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _answer(self, turn: Turn) -> Turn:
        turn = replace(turn, state="thinking")
        self._keep(turn)
        if turn.verb == "ask":
            return replace(turn, state="answered", answer=self.scan.ask(turn.question))
        if turn.verb == "describe":
            return replace(turn, state="answered", answer=self.scan.describe(*turn.place))
        found = tuple(self.scan.find(turn.question))
        count = "1 object" if len(found) == 1 else f"{len(found)} objects"
        return replace(turn, state="answered", answer=count if found else nothing(self.scan), found=found)

    def _told(self, turn: Turn, answered: Future[Turn], done: Future[Turn]) -> None:
        """Keep what came of a turn; whatever was raised is its answer, so that the next question has its chance."""
        if answered.cancelled():
            done.cancel()
            return
        error = answered.exception()
        ended = answered.result() if error is None else replace(turn, state="failed", answer=_failure(error))
        self._keep(ended)
        done.set_result(ended)

    def _keep(self, turn: Turn) -> None:
        with self._lock:
            self.turns[turn.number] = turn
            self.changed(turn)
            over = len(self.turns) - MOST_TURNS
            ended = [old for old in self.turns.values() if old.state in ("answered", "failed")]
            for old in ended[: max(0, over)]:
                del self.turns[old.number]
                self.forgotten(old)


def _failure(error: BaseException) -> str:
    """What is told to the person; a fault of the program's is shown in the terminal."""
    message = complaint(error)
    if message is None:
        traceback.print_exception(error)
        return f"{type(error).__name__}: {error} (a fault in the program; the terminal shows where)"
    return message
