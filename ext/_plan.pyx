# cython: language_level=3
"""Route plans as bytes (fastsip/_plan.pxd is the layout). Whoever decides writes plans as objects; the hot thread, which
has no objects, gets one block with every offset checked."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcpy, memset

from fastsip.names import HEADERS

cdef enum:
    LONGEST = 30000              # bytes of all text: plan and branches share one buffer
    LONGEST_TIME = 86400000      # ms


cdef dict FORMS = {long.lower(): short for long, short in HEADERS if short}
FORMS.update({short: long for long, short in HEADERS if short})


cdef inline bint inside(const PlanHead* head, PlanText text) noexcept nogil:
    return text.at <= head.size and text.length <= head.size - text.at


cdef bint plan_check(const PlanHead* head, uint32_t size) noexcept nogil:
    cdef uint32_t i, k
    cdef const PlanStep* step
    cdef const PlanTarget* target
    if size < sizeof(PlanHead) or head.size != size or head.steps > MAX_STEPS or head.targets > MAX_TARGETS:
        return False
    if sizeof(PlanHead) + head.steps * sizeof(PlanStep) + head.targets * sizeof(PlanTarget) > size:
        return False
    if not inside(head, head.reason) or not inside(head, head.headers):
        return False
    if head.status:
        return 300 <= head.status <= 699
    if head.steps == 0:
        return False
    for i in range(head.steps):
        step = plan_steps(head) + i
        if step.count == 0 or step.first + step.count > head.targets:
            return False
        for k in range(8):
            if step.onward[k] and not i < step.onward[k] < head.steps:
                return False
    for i in range(head.targets):
        target = plan_targets(head) + i
        if (not inside(head, target.uri) or not inside(head, target.hop) or not inside(head, target.routes)
                or not inside(head, target.headers) or not inside(head, target.remove) or target.uri.length == 0):
            return False
    return True


cdef PlanText add(bytearray text, uint32_t base, bytes data) except *:
    # Behind what there is.
    cdef PlanText where
    where.at = base + <uint32_t>len(text)
    where.length = <uint32_t>PyBytes_GET_SIZE(data)
    text += data
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes of text")
    return where


cdef bytes clean(object value, str what):
    # One line's worth of text.
    cdef bytes data
    if isinstance(value, str):
        data = (<str>value).encode("utf-8", "surrogateescape")
    else:
        raise TypeError(f"{what}: expected a text, not {type(value).__name__}")
    if (memchr(PyBytes_AS_STRING(data), 13, PyBytes_GET_SIZE(data)) != NULL
            or memchr(PyBytes_AS_STRING(data), 10, PyBytes_GET_SIZE(data)) != NULL
            or memchr(PyBytes_AS_STRING(data), 0, PyBytes_GET_SIZE(data)) != NULL):
        raise ValueError(f"{what}: a line break or NUL in {value!r}")
    return data


cdef bytes clean_uri(object value, str what):
    cdef bytes data = clean(value, what)
    cdef uint8_t c
    if not data:
        raise ValueError(f"{what}: it is empty")
    for c in data:
        if c <= 32 or c == c"<" or c == c">":
            raise ValueError(f"{what}: {value!r} is no URI")
    return data


cdef bytes lines(object headers, str what):
    cdef list parts = []
    cdef bytes head
    for name, value in headers:
        head = clean(name, f"{what}, name")
        if not head or not head.isascii() or b":" in head or b" " in head:
            raise ValueError(f"{what}: {name!r} is no header's name")
        parts.append(b"%b: %b\r\n" % (head, clean(value, f"{what}, {name}")))
    return b"".join(parts)


cdef uint32_t milliseconds(object seconds, str what) except? 0xFFFFFFFF:
    if seconds is None:
        return 0
    ms = seconds * 1000
    if not 0 < ms <= LONGEST_TIME:
        raise ValueError(f"{what} = {seconds!r}: expected seconds, above 0 and at most a day")
    return <uint32_t>max(1, int(ms))


cdef int read_target(bytearray text, uint32_t base, object one, PlanTarget* out) except -1:
    cdef object q = one.q, gateway = one.gateway
    out.uri = add(text, base, clean_uri(one.uri, "uri"))
    if one.hop is not None:
        out.hop = add(text, base, clean_uri(one.hop, "hop"))
    if one.routes:
        out.routes = add(text, base, lines([("Route", route) for route in one.routes], "routes"))
    if one.headers:
        out.headers = add(text, base, lines(one.headers, "headers"))
    if one.remove:
        names = [*one.remove, *(FORMS[name.lower()] for name in one.remove if name.lower() in FORMS)]
        out.remove = add(text, base, b"".join([clean(name, "remove") + b"\n" for name in names]))
    if one.try_time is not None:
        out.try_time = milliseconds(one.try_time, "try_time")
    if not 0 <= q <= 1:
        raise ValueError(f"q = {q!r}: expected a number from 0 to 1")
    out.q = <uint16_t>(q * 1000 + 0.5)
    if gateway is not None:
        if not 0 <= gateway < 65535:
            raise ValueError(f"gateway = {gateway!r}: expected a slot of the target table")
        out.gateway = <uint16_t>(gateway + 1)
    return 0


cdef int read_onward(object onward, PlanStep* out, Py_ssize_t index, Py_ssize_t count) except -1:
    cdef Py_ssize_t next
    cdef int outcome
    if not onward:
        return 0
    if not isinstance(onward, dict):
        # To the next step; of the last one it means nothing, so that a list of like steps can be written as one.
        if index + 1 < count:
            for outcome in onward:
                if not 0 <= outcome < 8:
                    raise ValueError(f"onward: {outcome} is no Outcome")
                out.onward[outcome] = <uint8_t>(index + 1)
        return 0
    for outcome, next in onward.items():
        if not 0 <= outcome < 8:
            raise ValueError(f"onward: {outcome} is no Outcome")
        if not index < next < count:
            raise ValueError(f"onward: {next} is no later step (there are {count})")
        out.onward[outcome] = <uint8_t>next
    return 0


cdef int read_step(object step, PlanStep* out, Py_ssize_t first, Py_ssize_t index, Py_ssize_t count) except -1:
    out.first = <uint16_t>first
    out.count = <uint16_t>len(step.targets)
    if out.count == 0:
        raise ValueError("it has no targets")
    if step.ring_time is not None:
        out.ring_time = milliseconds(step.ring_time, "ring_time")
    if step.notify is not None:
        if not 101 <= step.notify <= 199:
            raise ValueError(f"notify = {step.notify!r}: expected a status from 101 to 199")
        out.notify = step.notify
    return read_onward(step.onward, out, index, count)


def encode_plan(plan not None) -> bytes:
    cdef tuple steps = tuple(plan.steps)
    cdef object answer = plan.answer, step, one
    cdef Py_ssize_t targets = 0, i, j, k = 0, size
    cdef PlanHead* head
    cdef PlanStep* s
    cdef PlanTarget* t
    cdef bytearray text = bytearray()
    cdef bytes out
    cdef char* memory
    if answer is None and not steps:
        raise ValueError("plan: neither steps nor an answer")
    if answer is not None:
        steps = ()
    for step in steps:
        targets += len(step.targets)
    if len(steps) > MAX_STEPS or targets > MAX_TARGETS:
        raise ValueError(f"plan: {len(steps)} steps and {targets} targets; at most {MAX_STEPS} and {MAX_TARGETS}")
    size = sizeof(PlanHead) + len(steps) * sizeof(PlanStep) + targets * sizeof(PlanTarget)
    cdef bytearray fixed = bytearray(size)
    memory = fixed
    head = <PlanHead*>memory
    if answer is not None:
        if not 300 <= answer.status <= 699:
            raise ValueError(f"plan.answer.status = {answer.status!r}: expected a status from 300 to 699")
        head.status = answer.status
        if answer.reason is not None:
            head.reason = add(text, <uint32_t>size, clean(answer.reason, "plan.answer.reason"))
        head.headers = add(text, <uint32_t>size, lines(answer.headers, "plan.answer.headers"))
    head.steps = <uint16_t>len(steps)
    head.targets = <uint16_t>targets
    head.flags = (PLAN_RECURSE if plan.recurse else 0) | (PLAN_ON_FAILURE if plan.on_failure else 0)
    s = <PlanStep*>(head + 1)
    t = <PlanTarget*>(s + len(steps))
    for i in range(len(steps)):
        step = steps[i]
        j = -1
        try:
            read_step(step, &s[i], k, i, len(steps))
            for one in step.targets:
                j += 1
                read_target(text, <uint32_t>size, one, &t[k])
                k += 1
        except (ValueError, TypeError, AttributeError) as error:
            where = f".targets[{j}]" if j >= 0 else ""
            raise type(error)(f"plan.steps[{i}]{where}: {error}") from None
    head.size = <uint32_t>(size + len(text))
    out = PyBytes_FromStringAndSize(NULL, head.size)
    memcpy(PyBytes_AS_STRING(out), memory, size)
    memcpy(PyBytes_AS_STRING(out) + size, <char*>text, len(text))
    return out
