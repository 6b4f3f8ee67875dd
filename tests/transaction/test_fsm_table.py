"""The tables of ext/fsm.h against the figures, written down again from the RFC, arrow by arrow.

1. RFC 3261 figure 5 as replaced by RFC 6026 8.4
2. RFC 3261 figure 6
3. RFC 3261 figure 7 as replaced by RFC 6026 8.6
4. RFC 3261 figure 8, its transport errors as RFC 6026 8.8 has them (17.2.4: MUST remain in the current state)
5. which timers start and stop on the way: 17.1.1.2, 17.1.2.2, 17.2.1, 17.2.2, RFC 6026 7.1, 7.2
6. every state can be reached and left
7. the drawing shows every arrow
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastsip._testing import kept, machines

# From | event | to | action, in the words of the figure.
FIGURES = {
    "INVITE client": """
                   | INVITE from TU   | Calling    | INVITE sent
        Calling    | Timer A fires    | Calling    | Reset A, INVITE sent
        Calling    | Timer B fires    | Terminated | inform TU of timeout
        Calling    | Transport Err.   | Terminated | inform TU of error
        Calling    | 1xx              | Proceeding | 1xx to TU
        Calling    | 2xx              | Accepted   | 2xx to TU
        Calling    | 300-699          | Completed  | ACK sent, resp. to TU
        Proceeding | 1xx              | Proceeding | 1xx to TU
        Proceeding | 2xx              | Accepted   | 2xx to TU
        Proceeding | 300-699          | Completed  | ACK sent, resp. to TU
        Accepted   | 2xx              | Accepted   | 2xx to TU
        Accepted   | Timer M fires    | Terminated | -
        Completed  | 300-699          | Completed  | ACK sent
        Completed  | Transport Err.   | Terminated | inform TU of error
        Completed  | Timer D fires    | Terminated | -
    """,
    "non-INVITE client": """
                   | Request from TU  | Trying     | send request
        Trying     | Timer E          | Trying     | send request
        Trying     | Timer F          | Terminated | inform TU of timeout
        Trying     | Transport Err.   | Terminated | inform TU of error
        Trying     | 1xx              | Proceeding | resp. to TU
        Trying     | 200-699          | Completed  | resp. to TU
        Proceeding | Timer E          | Proceeding | send request
        Proceeding | Timer F          | Terminated | inform TU of timeout
        Proceeding | Transport Err.   | Terminated | inform TU of error
        Proceeding | 1xx              | Proceeding | resp. to TU
        Proceeding | 200-699          | Completed  | resp. to TU
        Completed  | Timer K          | Terminated | -
    """,
    "INVITE server": """
                   | INVITE           | Proceeding | pass INV to TU
        Proceeding | INVITE           | Proceeding | send response again
        Proceeding | 101-199 from TU  | Proceeding | send response
        Proceeding | Transport Err.   | Proceeding | inform TU of error
        Proceeding | 300-699 from TU  | Completed  | send response
        Proceeding | 2xx from TU      | Accepted   | send response
        Completed  | INVITE           | Completed  | send response again
        Completed  | Timer G fires    | Completed  | send response again
        Completed  | ACK              | Confirmed  | -
        Completed  | Timer H fires    | Terminated | inform TU of timeout
        Completed  | Transport Err.   | Completed  | inform TU of error
        Accepted   | INVITE           | Accepted   | -
        Accepted   | ACK              | Accepted   | ACK to TU
        Accepted   | 2xx from TU      | Accepted   | send response
        Accepted   | Transport Err.   | Accepted   | inform TU of error
        Accepted   | Timer L fires    | Terminated | -
        Confirmed  | Timer I fires    | Terminated | -
    """,
    "non-INVITE server": """
                   | Request received | Trying     | pass to TU
        Trying     | 1xx from TU      | Proceeding | send response
        Trying     | 200-699 from TU  | Completed  | send response
        Proceeding | Request          | Proceeding | send response again
        Proceeding | 1xx from TU      | Proceeding | send response
        Proceeding | 200-699 from TU  | Completed  | send response
        Proceeding | Trnsprt Err      | Proceeding | inform TU of error
        Completed  | Request          | Completed  | send response again
        Completed  | Trnsprt Err      | Completed  | inform TU of error
        Completed  | Timer J fires    | Terminated | -
    """,
}

EVENTS = {
    "INVITE from TU": ["request"], "Request from TU": ["request"], "INVITE": ["request"], "Request": ["request"],
    "Request received": ["request"], "ACK": ["ACK"], "1xx": ["1xx"], "1xx from TU": ["1xx"],
    "101-199 from TU": ["1xx"], "2xx": ["2xx"], "2xx from TU": ["2xx"], "300-699": ["300-699"],
    "300-699 from TU": ["300-699"], "200-699": ["2xx", "300-699"], "200-699 from TU": ["2xx", "300-699"],
    "Transport Err.": ["transport error"], "Trnsprt Err": ["transport error"],
}  # fmt: skip

ACTIONS = {
    "INVITE sent": "send request", "send request": "send request", "ACK sent": "send ACK",
    "1xx to TU": "pass response", "2xx to TU": "pass response", "resp. to TU": "pass response",
    "pass INV to TU": "pass request", "pass to TU": "pass request", "ACK to TU": "pass ACK",
    "send response": "send response", "send response again": "resend response",
    "inform TU of timeout": "tell timeout", "inform TU of error": "tell error",
}  # fmt: skip

# Machine, from, event -> timers as the text has them: "+" started, "-" stopped, "x2" doubled, "T2" set to T2. What is
# not here changes no timer; entering Terminated stops all.
TIMERS = {
    ("INVITE client", "", "request"): {"+A", "+B"},
    ("INVITE client", "Calling", "Timer A"): {"x2"},
    ("INVITE client", "Calling", "1xx"): {"-A", "-B"},
    ("INVITE client", "Calling", "2xx"): {"-A", "+M"},
    ("INVITE client", "Calling", "300-699"): {"-A", "+D"},
    ("INVITE client", "Proceeding", "2xx"): {"+M"},
    ("INVITE client", "Proceeding", "300-699"): {"+D"},
    ("non-INVITE client", "", "request"): {"+E", "+F"},
    ("non-INVITE client", "Trying", "Timer E"): {"x2 to T2"},
    ("non-INVITE client", "Trying", "2xx"): {"-E", "+K"},
    ("non-INVITE client", "Trying", "300-699"): {"-E", "+K"},
    ("non-INVITE client", "Proceeding", "Timer E"): {"T2"},
    ("non-INVITE client", "Proceeding", "2xx"): {"-E", "+K"},
    ("non-INVITE client", "Proceeding", "300-699"): {"-E", "+K"},
    ("INVITE server", "Proceeding", "2xx"): {"+L"},
    ("INVITE server", "Proceeding", "300-699"): {"+G", "+H"},
    ("INVITE server", "Completed", "Timer G"): {"x2 to T2"},
    ("INVITE server", "Completed", "ACK"): {"-G", "+I"},
    ("non-INVITE server", "Trying", "2xx"): {"+J"},
    ("non-INVITE server", "Trying", "300-699"): {"+J"},
    ("non-INVITE server", "Proceeding", "2xx"): {"+J"},
    ("non-INVITE server", "Proceeding", "300-699"): {"+J"},
}

TABLE = machines()


def transcribed(machine: str) -> dict[tuple[str, str], tuple[str, set[str]]]:
    arrows = {}
    for line in FIGURES[machine].strip("\n").splitlines():
        if not line.strip():
            continue
        state, event, next_state, action = (word.strip() for word in line.split("|"))
        does = {ACTIONS[word] for word in action.split(", ") if word in ACTIONS}
        for name in EVENTS.get(event, [event.removesuffix(" fires")]):
            arrows[state, name] = (next_state, does)
    return arrows


def is_timer_action(action: str) -> bool:
    return action.startswith(("start", "stop")) or action in ("double", "double to T2", "at T2")


@pytest.mark.parametrize("machine", FIGURES)
def test_arrows_are_those_of_the_figure(machine: str) -> None:
    table = {
        (state, event): (next_state, {action for action in actions if not is_timer_action(action)})
        for name, state, event, next_state, actions in TABLE
        if name == machine
    }
    assert table == transcribed(machine)


def test_timers_start_and_stop_as_the_text_says() -> None:
    words = {"double": "x2", "double to T2": "x2 to T2", "at T2": "T2"}
    table = {}
    for machine, state, event, _, actions in TABLE:
        timers = {
            words.get(action) or action.replace("start Timer ", "+").replace("stop Timer ", "-")
            for action in actions
            if is_timer_action(action)
        }
        if timers:
            table[machine, state, event] = timers
    assert table == TIMERS


@pytest.mark.parametrize("machine", FIGURES)
def test_every_state_is_reached_and_left(machine: str) -> None:
    arrows = [(state, next_state) for name, state, _, next_state, _ in TABLE if name == machine]
    reached = {""}
    while more := {target for source, target in arrows if source in reached} - reached:
        reached |= more
    assert reached == {state for arrow in arrows for state in arrow}
    leaving = {source for source, target in arrows if source != target}
    assert leaving == reached - {"Terminated"}


def test_what_sends_a_buffer_again_keeps_it() -> None:
    keeps = kept()
    for machine, state, _, next_state, actions in TABLE:
        if "resend response" in actions:
            assert "response" in keeps[machine, state]
        if "send request" in actions and state:
            assert "request" in keeps[machine, state]
        if "send ACK" in actions:
            assert "response" in keeps[machine, next_state]
            assert "request" in keeps.get((machine, state), ()) or state == "Completed"
    assert ("INVITE client", "Accepted") not in keeps and ("INVITE server", "Accepted") not in keeps


def test_the_drawing_shows_every_arrow() -> None:
    script = Path(__file__).parents[2] / "ext" / "draw_machines.py"
    drawn = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=20).stdout
    assert drawn.count("digraph") == len(FIGURES)
    assert drawn.count(" -> ") == len(TABLE)
