# Questions to the policy, from the bytes in the queue to the fields of fastsip.policy.request.Question.

cdef object read_question(const uint8_t* record):
    cdef const Question* q = <const Question*>record
    cdef const uint8_t* at = record + sizeof(Question)
    cdef QuestionResponse one
    cdef char text[ADDRESS_TEXT]
    cdef bytes aor, caller, data
    cdef list responses
    aor = at[:q.aor]
    at += q.aor
    caller = at[:q.caller]
    at += q.caller
    data = at[:q.length]
    at += q.length
    source = (text[:address_host(&q.source, text, False)].decode(), q.source.port) if q.source.family else ("", 0)
    if not q.responses:
        return q.kind, q.token, q.rights, aor, caller, source, data, ()
    responses = []
    for _ in range(q.responses):
        memcpy(&one, at, sizeof(one))
        at += sizeof(one)
        responses.append((one.status, one.target, at[:one.length] if one.length else None))
        at += one.length
    return q.kind, q.token, q.rights, aor, caller, source, data, tuple(responses)
