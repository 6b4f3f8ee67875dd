# A route plan as bytes: what encode_plan makes of fastsip.policy.Plan and the proxy core executes. One block: this head,
# steps, targets, then text; every PlanText counts from the head. plan_check says that all of it lies inside.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    PLAN_RECURSE = 1             # follow a 3xx: its contacts become targets
    PLAN_ON_FAILURE = 2          # ask before a failure goes upstream
    MAX_STEPS = 64
    MAX_TARGETS = 128            # and spares
    MAX_SPARES = 7               # of one target

cdef enum Outcome:               # of a step without a 2xx, by its best response; as fastsip.policy.Outcome
    OUTCOME_REDIRECTED = 0       # 3xx
    OUTCOME_REJECTED = 1         # any other 4xx
    OUTCOME_BUSY = 2             # 486, 600
    OUTCOME_NO_ANSWER = 3        # ring time over, 408, 480, 487
    OUTCOME_FAILURE = 4          # 5xx but 503
    OUTCOME_UNAVAILABLE = 5      # 503, transport error
    OUTCOME_TIMEOUT = 6          # nothing was heard at all
    OUTCOME_DECLINED = 7         # 6xx but 600

cdef struct PlanText:
    uint32_t at
    uint32_t length

cdef struct PlanHead:
    uint32_t size                # of the whole block
    uint16_t steps
    uint16_t targets
    uint16_t status              # of an answer made here; 0: there are steps
    uint16_t flags               # PLAN_*
    PlanText reason              # of the answer, empty for the RFC's
    PlanText headers             # of the answer: whole lines

cdef struct PlanStep:            # targets tried at the same time
    uint32_t ring_time           # ms, 0 for Timer C alone
    uint16_t first
    uint16_t count
    uint16_t notify              # a provisional status for the caller, 0 for none
    uint8_t onward[8]            # by Outcome: the step that follows, always a later one; 0: none

cdef struct PlanTarget:          # one branch
    PlanText uri
    PlanText hop                 # a URI to send to instead
    PlanText routes              # whole Route lines
    PlanText headers             # whole lines to add
    PlanText remove              # names of header fields, each with a LF behind it
    uint32_t try_time            # ms without any answer until it counts as a timeout; 0: Timer B or F
    uint16_t q                   # thousandths
    uint16_t gateway             # slot in the target table + 1, 0 for none
    uint16_t located             # 1: `hop` is one server of a name, whose failure is worth knowing
    uint16_t spare_of            # place of the target it stands in for + 1, 0 for none: it is in no step then

cdef inline const PlanStep* plan_steps(const PlanHead* head) noexcept nogil:
    return <const PlanStep*>(head + 1)

cdef inline const PlanTarget* plan_targets(const PlanHead* head) noexcept nogil:
    return <const PlanTarget*>(plan_steps(head) + head.steps)

cdef inline const uint8_t* plan_text(const PlanHead* head, PlanText text) noexcept nogil:
    return <const uint8_t*>head + text.at

cdef bint plan_check(const PlanHead* head, uint32_t size) noexcept nogil
