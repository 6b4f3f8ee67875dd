# cython: language_level=3
"""Route plans as bytes (fastsip/_plan.pxd is the layout). Whoever decides writes plans as objects; the hot thread, which
has no objects, gets one block with every offset checked."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from fastsip.names import HEADERS

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    LONGEST = 30000              # bytes of all text: plan and branches share one buffer
    LONGEST_TIME = 86400000      # ms


cdef dict FORMS = {long.lower(): short for long, short in HEADERS if short}
FORMS.update({short: long for long, short in HEADERS if short})


cdef frozenset names_of(tuple names):
    # As they may be written, in lower case.
    cdef set found = {name.lower() for name in names}
    return frozenset(found | {FORMS[name] for name in found if name in FORMS})


# What the proxy writes or reads itself, and what transactions and dialogs are known by: no plan's to add or to leave out.
cdef frozenset OWN_OF_ANSWERS = names_of(("Via", "From", "To", "Call-ID", "CSeq", "Content-Length", "Record-Route"))
cdef frozenset OWN_OF_REQUESTS = OWN_OF_ANSWERS | names_of(("Max-Forwards", "Max-Breadth", "Route"))
cdef frozenset NOTHING = frozenset()
cdef str INSTEAD = ": `routes` has those"


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
                or not inside(head, target.headers) or not inside(head, target.remove) or target.uri.length == 0
                or target.spare_of > i):
            return False
    return True


cdef struct Page:                # of text, behind everything else
    uint32_t base                # where it will begin in the block
    uint32_t length
    uint8_t text[30000]


cdef struct Fixed:               # all that is no text, at its largest
    PlanHead head
    PlanStep steps[64]
    PlanTarget targets[128]


cdef bytes escaped(object value, str what):
    # What a str has that is no UTF-8 came as bytes, and goes as the same bytes.
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected a text, not {type(value).__name__}")
    return (<str>value).encode("utf-8", "surrogateescape")


cdef int append(Page* page, object value, str what, bint uri) except -1:
    # One line's worth of text, or a URI.
    cdef Py_ssize_t length, i
    cdef const char* data
    cdef bytes keep
    cdef uint8_t c
    cdef uint8_t* to = page.text + page.length
    if type(value) is str and (<str>value).isascii():
        data = PyUnicode_AsUTF8AndSize(value, &length)
    else:
        keep = escaped(value, what)
        data, length = PyBytes_AS_STRING(keep), PyBytes_GET_SIZE(keep)
    if length > LONGEST - <Py_ssize_t>page.length:
        raise ValueError(f"{what}: the plan has more than {LONGEST} bytes of text")
    for i in range(length):
        c = <uint8_t>data[i]
        if c == 13 or c == 10 or c == 0:
            raise ValueError(f"{what}: a line break or NUL in {value!r}")
        if uri and (c <= 32 or c == c"<" or c == c">"):
            raise ValueError(f"{what}: {value!r} is no URI")
        to[i] = c
    if uri and length == 0:
        raise ValueError(f"{what}: it is empty")
    page.length += <uint32_t>length
    return 0


cdef int append_bytes(Page* page, const char* data, uint32_t length) except -1:
    if length > LONGEST - page.length:
        raise ValueError(f"more than {LONGEST} bytes of text")
    memcpy(page.text + page.length, data, length)
    page.length += length
    return 0


cdef inline void begin(const Page* page, PlanText* text) noexcept:
    text.at = page.base + page.length


cdef inline void end(const Page* page, PlanText* text) noexcept:
    text.length = page.base + page.length - text.at


cdef int several(object values, str what, str of) except -1:
    # A text is a sequence too, of letters: what is meant is a sequence with that text in it.
    if not isinstance(values, (tuple, list, frozenset)):
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            raise TypeError(f"{what} = {values!r}: expected a tuple of {of}")
    return 0


cdef int append_lines(Page* page, PlanText* text, object headers, str what, frozenset own) except -1:
    # `own`: names that may not be among them.
    cdef uint32_t start, i
    cdef uint8_t c
    several(headers, what, "names and values")
    begin(page, text)
    for pair in headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{what}: {pair!r}: expected a name and a value")
        name, value = pair
        start = page.length
        append(page, name, what, False)
        for i in range(start, page.length):
            c = page.text[i]
            if c <= 32 or c == c":" or c >= 127:
                start = page.length
        if start == page.length:
            raise ValueError(f"{what}: {name!r} is no header's name")
        if name.lower() in own:
            raise ValueError(f"{what}: {name!r} is the proxy's own{INSTEAD if name.lower() == 'route' else ''}")
        append_bytes(page, b": ", 2)
        append(page, value, what, False)
        append_bytes(page, b"\r\n", 2)
    end(page, text)
    return 0


cdef int number(object value, str what, str expected) except -1:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{what} = {value!r}: expected {expected}")
    return 0


cdef uint32_t milliseconds(object seconds, str what) except? 0xFFFFFFFF:
    if seconds is None:
        return 0
    number(seconds, what, "seconds")
    ms = seconds * 1000
    if not 0 < ms <= LONGEST_TIME:
        raise ValueError(f"{what} = {seconds!r}: expected seconds, above 0 and at most a day")
    return <uint32_t>max(1, int(ms))


cdef int append_uri(Page* page, PlanText* text, object uri, str what) except -1:
    begin(page, text)
    append(page, uri, what, True)
    end(page, text)
    return 0


cdef int read_target(Page* page, object one, PlanTarget* out) except -1:
    cdef object hop = one.hop, routes = one.routes, headers = one.headers, remove = one.remove
    cdef object q = one.q, gateway = one.gateway, try_time = one.try_time
    append_uri(page, &out.uri, one.uri, "uri")
    if hop is not None:
        append_uri(page, &out.hop, hop, "hop")
        out.located = 1
    if routes:
        several(routes, "routes", "Route values")
        append_lines(page, &out.routes, [("Route", route) for route in routes], "routes", NOTHING)
    if headers:
        append_lines(page, &out.headers, headers, "headers", OWN_OF_REQUESTS)
    if remove:
        several(remove, "remove", "names")
        begin(page, &out.remove)
        for name in remove:
            if not isinstance(name, str):
                raise TypeError(f"remove: {name!r}: expected a header's name")
            if name.lower() in OWN_OF_REQUESTS:
                raise ValueError(f"remove: {name!r} is the proxy's own")
        for name in [*remove, *(FORMS[name.lower()] for name in remove if name.lower() in FORMS)]:
            append(page, name, "remove", False)
            append_bytes(page, b"\n", 1)
        end(page, &out.remove)
    if try_time is not None:
        out.try_time = milliseconds(try_time, "try_time")
    number(q, "q", "a number from 0 to 1")
    if not 0 <= q <= 1:
        raise ValueError(f"q = {q!r}: expected a number from 0 to 1")
    out.q = <uint16_t>(q * 1000 + 0.5)
    if gateway is not None:
        if not isinstance(gateway, int) or not 0 <= gateway < 65535:
            raise ValueError(f"gateway = {gateway!r}: expected a slot of the target table")
        out.gateway = <uint16_t>(gateway + 1)
    return 0


cdef int read_spares(Page* page, object one, PlanTarget* lead, PlanTarget* out, Py_ssize_t place) except -1:
    # Each is its lead with another hop. Who is the last has no reason to be less patient than if he were alone.
    cdef uint32_t patience = milliseconds(one.patience, "patience"), try_time = lead.try_time
    cdef PlanTarget* last = lead
    if not isinstance(one.spares, (tuple, list)):
        raise TypeError(f"spares = {one.spares!r}: expected a tuple of SIP URIs")
    if len(one.spares) > MAX_SPARES:
        raise ValueError(f"spares: {len(one.spares)} of them; at most {MAX_SPARES}")
    for uri in one.spares:
        memcpy(out, lead, sizeof(PlanTarget))
        append_uri(page, &out.hop, uri, "spares")
        out.located = 1
        out.try_time = try_time
        out.spare_of = <uint16_t>(place + 1)
        if patience:
            last.try_time = patience
        last = out
        out += 1
    return 0


cdef Py_ssize_t count_spares(object targets) except -1:
    # Of those that have any; what is wrong with them is told when they are read.
    cdef Py_ssize_t count = 0
    for one in targets:
        spares = getattr(one, "spares", None)
        if spares and isinstance(spares, (tuple, list)):
            count += len(spares)
    return count


cdef int outcome_of(object one) except -1:
    cdef int outcome = <int>one if isinstance(one, int) else -1
    if not 0 <= outcome < 8:
        raise ValueError(f"onward: {one!r} is no Outcome")
    return outcome


cdef int read_onward(object onward, PlanStep* out, Py_ssize_t index, Py_ssize_t count) except -1:
    cdef int outcome
    if not onward:
        return 0
    if not isinstance(onward, dict) and not hasattr(onward, "items"):
        # To the next step; of the last one it means nothing, so that a list of like steps can be written as one.
        several(onward, "onward", "Outcomes")
        for one in onward:
            outcome = outcome_of(one)
            if index + 1 < count:
                out.onward[outcome] = <uint8_t>(index + 1)
        return 0
    for one, next in onward.items():
        outcome = outcome_of(one)
        if not isinstance(next, int) or not index < next < count:
            raise ValueError(f"onward: {next!r} is no later step (there are {count})")
        out.onward[outcome] = <uint8_t><int>next
    return 0


cdef int read_step(object step, PlanStep* out, Py_ssize_t first, Py_ssize_t index, Py_ssize_t count) except -1:
    out.first = <uint16_t>first
    out.count = <uint16_t>len(step.targets)
    if out.count == 0:
        raise ValueError("it has no targets")
    if step.ring_time is not None:
        out.ring_time = milliseconds(step.ring_time, "ring_time")
    if step.notify is not None:
        if not isinstance(step.notify, int) or not 101 <= step.notify <= 199:
            raise ValueError(f"notify = {step.notify!r}: expected a status from 101 to 199")
        out.notify = step.notify
    return read_onward(step.onward, out, index, count)


cdef int read_answer(Page* page, object answer, PlanHead* head) except -1:
    if not hasattr(answer, "status"):
        raise TypeError(f"plan.answer = {answer!r}: expected an Answer")
    cdef object reason = answer.reason
    if not isinstance(answer.status, int) or not 300 <= answer.status <= 699:
        raise ValueError(f"plan.answer.status = {answer.status!r}: expected a status from 300 to 699")
    head.status = answer.status
    if reason is not None:
        begin(page, &head.reason)
        append(page, reason, "plan.answer.reason", False)
        end(page, &head.reason)
    return append_lines(page, &head.headers, answer.headers, "plan.answer.headers", OWN_OF_ANSWERS)


def encode_plan(plan not None) -> bytes:
    cdef tuple steps
    cdef object answer = plan.answer, step, one
    cdef Py_ssize_t targets = 0, spares = 0, count, i, j, k = 0, size
    cdef PlanHead* head
    cdef PlanStep* s
    cdef PlanTarget* t
    cdef Fixed fixed
    cdef Page page
    cdef bytes out
    several(plan.steps, "plan.steps", "Steps")
    steps = tuple(plan.steps) if answer is None else ()
    if answer is None and not steps:
        raise ValueError("plan: neither steps nor an answer")
    count = len(steps)
    for i in range(count):
        if not hasattr(steps[i], "targets"):
            raise TypeError(f"plan.steps[{i}] = {steps[i]!r}: expected a Step")
        if type(steps[i].targets) is not tuple:      # the text is for mistakes alone
            several(steps[i].targets, f"plan.steps[{i}]: targets", "Targets")
        targets += len(steps[i].targets)
        spares += count_spares(steps[i].targets)
    if count > MAX_STEPS or targets + spares > MAX_TARGETS:
        raise ValueError(f"plan: {count} steps, {targets} targets and {spares} spares; at most {MAX_STEPS} steps and "
                         f"{MAX_TARGETS} of the others")
    size = sizeof(PlanHead) + count * sizeof(PlanStep) + (targets + spares) * sizeof(PlanTarget)
    memset(&fixed, 0, size)
    page.base = <uint32_t>size
    page.length = 0
    head = &fixed.head
    head.steps = <uint16_t>count
    head.targets = <uint16_t>(targets + spares)
    head.flags = (PLAN_RECURSE if plan.recurse else 0) | (PLAN_ON_FAILURE if plan.on_failure else 0)
    if answer is not None:
        read_answer(&page, answer, head)
    s = <PlanStep*>(head + 1)
    t = <PlanTarget*>(s + count)
    for i in range(count):
        step = steps[i]
        j = -1
        try:
            read_step(step, &s[i], k, i, count)
            for one in step.targets:
                j += 1
                if not hasattr(one, "uri"):
                    raise TypeError(f"{one!r}: expected a Target")
                read_target(&page, one, &t[k])
                if one.spares:
                    read_spares(&page, one, &t[k], &t[targets], k)
                    targets += len(one.spares)
                k += 1
        except (ValueError, TypeError, OverflowError) as error:
            where = f".targets[{j}]" if j >= 0 else ""
            raise type(error)(f"plan.steps[{i}]{where}: {error}") from None
    head.size = <uint32_t>size + page.length
    out = PyBytes_FromStringAndSize(NULL, head.size)
    memcpy(PyBytes_AS_STRING(out), &fixed, size)
    memcpy(PyBytes_AS_STRING(out) + size, page.text, page.length)
    return out
