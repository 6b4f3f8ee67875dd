# The tables of fsm.h, to be compared with the RFC and drawn.

cdef extern from "fsm.h" nogil:
    enum:
        MACHINE_COUNT, STATE_COUNT, EVENT_COUNT, ACTION_COUNT
    enum Event:
        EVENT_REQUEST, EVENT_1XX, EVENT_2XX, EVENT_300_699, EVENT_ACK
        EVENT_RETRANSMIT, EVENT_TIMEOUT, EVENT_WAITED, EVENT_ERROR
    ctypedef struct Arrow:
        uint8_t next
        uint32_t actions
    const Arrow[4][8][9] FSM
    const uint8_t[4][8] KEEPS
    const char[4][8] WAIT
    const char[4] RETRANSMIT_LETTER
    const char[4] TIMEOUT_LETTER
    const char** MACHINE_NAMES
    const char** STATE_NAMES
    const char** EVENT_NAMES
    const char** ACTION_NAMES


def machines():
    arrows = []
    for machine in range(MACHINE_COUNT):
        for state in range(STATE_COUNT):
            for event in range(EVENT_COUNT):
                arrow = FSM[machine][state][event]
                if arrow.next == 0:
                    continue
                letter = {
                    <int>EVENT_RETRANSMIT: RETRANSMIT_LETTER[machine], <int>EVENT_TIMEOUT: TIMEOUT_LETTER[machine],
                    <int>EVENT_WAITED: WAIT[machine][state],
                }.get(event, 0)
                timers = {
                    "retransmit": RETRANSMIT_LETTER[machine], "timeout": TIMEOUT_LETTER[machine],
                    "wait": WAIT[machine][arrow.next],
                }
                arrows.append((
                    MACHINE_NAMES[machine].decode(), STATE_NAMES[state].decode(),
                    f"Timer {chr(letter)}" if letter else EVENT_NAMES[event].decode(),
                    STATE_NAMES[arrow.next].decode(),
                    tuple(named(ACTION_NAMES[i].decode(), timers) for i in range(ACTION_COUNT) if arrow.actions >> i & 1),
                ))
    return arrows


cdef str named(str action, dict timers):
    verb, _, which = action.partition(" ")
    return f"{verb} Timer {chr(timers[which])}" if verb in ("start", "stop") else action


def kept():
    return {
        (MACHINE_NAMES[machine].decode(), STATE_NAMES[state].decode()):
            frozenset(name for bit, name in ((1, "request"), (2, "response")) if KEEPS[machine][state] & bit)
        for machine in range(MACHINE_COUNT) for state in range(STATE_COUNT) if KEEPS[machine][state]
    }
