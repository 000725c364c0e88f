"""Questions are answered one after the other, in order; one that fails says why and the next has its turn."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from llava.scan import Found, check_words
from llava.serve import conversation
from llava.serve.conversation import Conversation, Turn
from llava.serve.words import short, turn_html

BOX = np.array([0, 0, 0, 1, 1, 1], np.float32)


class SlowScan:
    """Answers when it is told to; counts how many it is asked at a time."""

    boxes = BOX[None]

    def __init__(self) -> None:
        self.go, self.busy, self.most, self.asked = threading.Event(), 0, 0, []

    def ask(self, question: str) -> str:
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.asked.append(question)
        assert self.go.wait(10)
        time.sleep(0.002)
        self.busy -= 1
        return question.upper()

    def find(self, description: str) -> list[Found]:
        if description == "bad":
            check_words("")
        if description == "bug":
            raise ZeroDivisionError("division by zero")
        return [Found(BOX, 0.75)] if description == "chair" else []

    def describe(self, x: float, y: float, z: float) -> str:
        return f"at {x} {y} {z}"


@pytest.fixture
def talk():
    shown: list[Turn] = []
    made = Conversation(SlowScan(), shown.append, lambda turn: shown.append(None))
    made.shown = shown
    yield made
    made.scan.go.set()
    made.close()


def test_tabs_wait_for_each_other(talk: Conversation) -> None:
    tabs = [threading.Thread(target=talk.put, args=("ask", f"question {n}")) for n in range(8)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    waiting = talk.put("ask", "last")
    assert {turn.state for turn in talk.turns.values()} <= {"waiting", "thinking"}
    talk.scan.go.set()
    assert waiting.result(10) == Turn(9, "ask", "last", state="answered", answer="LAST")
    assert talk.scan.most == 1
    assert talk.scan.asked == [talk.turns[n].question for n in range(1, 10)]
    states = [turn.state for turn in talk.shown if turn.number == 9]
    assert states == ["waiting", "thinking", "answered"]


def test_a_failure_is_an_answer_and_the_next_question_is_answered(
    talk: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [talk.put("find", "bad"), talk.put("find", "bug"), talk.put("find", "chair"), talk.put("find", "unicorn")]
    bad, bug, chair, none = (turn.result(10) for turn in asked)
    assert (bad.state, bad.answer) == ("failed", "the question is empty: ask something in words")
    assert bug.state == "failed" and bug.answer.startswith("ZeroDivisionError: division by zero (a fault")
    assert chair.state == "answered" and chair.found[0].confidence == 0.75
    assert (none.state, none.answer, none.found) == ("answered", "nothing in the scan is like that", ())
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told and "ask something" not in told  # a traceback of what is ours to mend, only


def test_a_place_is_described(talk: Conversation) -> None:
    assert talk.put("describe", place=(1.0, 2.0, 3.0)).result(10).answer == "at 1.0 2.0 3.0"


def test_old_turns_are_forgotten(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MOST_TURNS", 3)
    last = [talk.put("find", "chair") for _ in range(6)][-1]
    last.result(10)
    assert sorted(talk.turns) == [4, 5, 6]
    assert talk.shown.count(None) == 3


def test_what_waits_when_it_is_closed_is_not_answered(talk: Conversation) -> None:
    first, second = talk.put("ask", "first"), talk.put("ask", "second")
    talk.close()
    talk.scan.go.set()
    assert first.result(10).answer == "FIRST"
    assert second.cancelled() and talk.scan.asked == ["first"]


def test_what_others_wrote_cannot_become_markup() -> None:
    turn = Turn(3, "ask", "<script>alert(1)</script>", state="answered", answer="<img src=x onerror=alert(1)>")
    html = turn_html(turn)
    assert "<script" not in html and "<img" not in html
    assert "&lt;script&gt;" in html and "data-state='answered'" in html


def test_labels_are_short() -> None:
    assert short("a chair") == "a chair"
    assert short("a very long description " * 9).endswith("…") and len(short("x" * 99)) == 36
