# REGISTERs applied to a table one after another: those that go through and remove nothing, as nearly all do.

def apply_plain(list registers not None, list outcomes not None, table, journal, removals, expiry, uint64_t now,
                uint32_t max_contacts, uint64_t version, uint64_t least):
    # Whatever goes wrong has changed nothing, and the caller meets it again where it is told about.
    cdef object get = table.get, put = table.put
    cdef bint removed_lately = len(removals) > 0
    cdef uint64_t registered = 0, next_version
    cdef int64_t aors = 0, bindings = 0
    cdef const BindingSet* held
    cdef Register register
    cdef Change change
    cdef bytes aor, current
    cdef bint changes
    cdef int status
    cdef Py_ssize_t i
    try:
        for i in range(len(outcomes), len(registers)):
            register = registers[i]
            if not register.readable or register.flags & FLAG_STAR:
                break
            aor = span_bytes(&register.aor_text)
            current = get(RECORD_BINDINGS, aor)
            held = read_set(current)
            status = judge(register, held, now, max_contacts, &changes)
            if not changes and status != 200:
                break
            if changes:
                next_version = max(version + 1, least)
                change = written(register, held, now, next_version)
                if change.count == 0 or gone_with(register, held, change) is not None:
                    break
                if (removed_lately and register.adds
                        and removals.forbids(aor, register.call_id, register.cseq, now)):
                    break
                put(RECORD_BINDINGS, aor, change.value)
                version = next_version
                if journal is not None:
                    journal.note(aor, version)
                if change.count != change.before:
                    aors += change.before == 0
                    bindings += <int64_t>change.count - <int64_t>change.before
                if change.before == 0 or change.earliest < change.earliest_before:
                    expiry.enter(aor, change.earliest)
            registered += 1
            outcomes.append((register.token, 200, 0))
    except (ValueError, MemoryError):
        pass
    return version, registered, aors, bindings
