# The confirmed dialogs: a block of memory each, found by hash, in the order of confirmation.
#
# The hash table is open addressing with linear probing and backward shift, at most two thirds full. The order is an
# array of (number, dialog) that only grows at its end; where a dialog ended is a hole, and when the end is reached the
# holes are squeezed out, or the array is doubled if there are few. Numbers never change, so that a listing goes on by
# number, found by halving. Both sides of a dialog hash alike, because either may send the BYE.

cdef struct Dialog:
    uint64_t hash
    uint64_t confirmed           # Unix ms
    uint64_t place               # in the order
    uint32_t gateway             # its slot in the target table + 1, 0 for none
    uint16_t length[5]           # Call-ID, From tag, To tag, From URI, To URI: one after another from `text` on
    uint8_t text[1]

cdef struct Place:
    uint64_t number
    Dialog* dialog               # NULL: it ended

cdef enum:
    TEXT_LIMIT = 65535
    SMALLEST = 1024              # slots, places; a power of two


cdef inline const uint8_t* dialog_text(const Dialog* d, int which) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>d.text
    cdef int i
    for i in range(which):
        at += d.length[i]
    return at


cdef struct AtGateway:
    uint32_t open                # dialogs there are
    uint32_t heard               # of those there were facts of since the last look
    uint32_t noted               # 1: in the list of those that changed


cdef class Dialogs:
    cdef HashKey key
    cdef Dialog** slots
    cdef Place* order
    cdef uint64_t mask, capacity, head, tail, next, count, limit, lifetime
    cdef readonly uint64_t dropped, expired
    cdef AtGateway gateways[TARGETS]
    cdef uint16_t changed[TARGETS]   # slots
    cdef uint32_t changes

    def __cinit__(self, uint64_t limit=500_000, uint64_t lifetime=86_400_000):
        cdef bytes key = os.urandom(16)
        memcpy(&self.key, <const char*>key, 16)
        self.limit, self.lifetime = limit, lifetime
        self.capacity = SMALLEST
        self.mask = SMALLEST - 1
        self.slots = <Dialog**>calloc(SMALLEST, sizeof(Dialog*))
        self.order = <Place*>malloc(SMALLEST * sizeof(Place))
        if self.slots == NULL or self.order == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.head, self.tail):
            free(self.order[i].dialog)
        free(self.slots)
        free(self.order)

    def __len__(self):
        return self.count

    def take_changes(self):
        cdef list found = []
        cdef AtGateway* at
        cdef uint32_t i
        for i in range(self.changes):
            at = &self.gateways[self.changed[i]]
            found.append((self.changed[i], at.open, at.heard))
            at.heard = at.noted = 0
        self.changes = 0
        return found

    def expire(self, uint64_t now, uint64_t limit):
        cdef Dialog* d
        while limit and self.count:
            d = dialogs_oldest(self)
            if d.confirmed + self.lifetime > now:
                return
            dialogs_remove(self, d)
            self.expired += 1
            limit -= 1

    def list(self, uint64_t cursor, uint64_t limit):
        cdef uint64_t low = self.head, high = self.tail, middle
        cdef const Dialog* d
        cdef list found = []
        while low < high:
            middle = (low + high) // 2
            if self.order[middle].number < cursor:
                low = middle + 1
            else:
                high = middle
        while low < self.tail:
            d = self.order[low].dialog
            if d != NULL:
                if <uint64_t>len(found) == limit:
                    return self.order[low].number, found
                found.append({
                    "call_id": dialog_string(d, 0),
                    "from_tag": dialog_string(d, 1),
                    "to_tag": dialog_string(d, 2),
                    "from": dialog_string(d, 3),
                    "to": dialog_string(d, 4),
                    "confirmed": d.confirmed,
                })
            low += 1
        return None, found


cdef str dialog_string(const Dialog* d, int which):
    return (<const char*>dialog_text(d, which))[:d.length[which]].decode(errors="replace")


cdef uint64_t dialog_hash(Dialogs self, const Span* call_id, const Span* a, const Span* b) noexcept:
    return (siphash(&self.key, call_id.data, call_id.length) +
            siphash(&self.key, a.data, a.length) + siphash(&self.key, b.data, b.length))


cdef Dialog** dialogs_find(Dialogs self, uint64_t hash, const Span* call_id, const Span* a, const Span* b) noexcept:
    # The slot of the dialog with these tags in this order, or the free one that ends the search.
    cdef uint64_t slot = hash & self.mask
    cdef const Dialog* d
    while True:
        d = self.slots[slot]
        if d == NULL or (d.hash == hash and same_span(call_id, dialog_text(d, 0), d.length[0]) and
                         same_span(a, dialog_text(d, 1), d.length[1]) and same_span(b, dialog_text(d, 2), d.length[2])):
            return &self.slots[slot]
        slot = (slot + 1) & self.mask


cdef AtGateway* dialogs_at(Dialogs self, uint32_t gateway) noexcept:
    # To be changed; `gateway` is not 0.
    cdef AtGateway* at = &self.gateways[gateway - 1]
    if not at.noted:
        at.noted = 1
        self.changed[self.changes] = <uint16_t>(gateway - 1)
        self.changes += 1
    return at


cdef void dialogs_remove(Dialogs self, Dialog* gone) noexcept:
    cdef uint64_t hole = gone.hash & self.mask, at, home
    while self.slots[hole] != gone:
        hole = (hole + 1) & self.mask
    at = hole
    while True:
        at = (at + 1) & self.mask
        if self.slots[at] == NULL:
            break
        home = self.slots[at].hash & self.mask
        if ((at - home) & self.mask) >= ((at - hole) & self.mask):
            self.slots[hole] = self.slots[at]
            hole = at
    self.slots[hole] = NULL
    self.order[gone.place].dialog = NULL
    self.count -= 1
    if gone.gateway:
        dialogs_at(self, gone.gateway).open -= 1
    free(gone)
    while self.head < self.tail and self.order[self.head].dialog == NULL:
        self.head += 1


cdef Dialog* dialogs_oldest(Dialogs self) noexcept:
    # There is one, and dialogs_remove keeps `head` at it.
    return self.order[self.head].dialog


cdef bint dialogs_make_room(Dialogs self) noexcept:
    # For one more: in the order, and in the table.
    cdef uint64_t i, to = 0, slot, slots
    cdef Place* order
    cdef Dialog** table
    if self.tail == self.capacity:
        if self.count > self.capacity // 2:
            order = <Place*>realloc(self.order, 2 * self.capacity * sizeof(Place))
            if order == NULL:
                return False
            self.order = order
            self.capacity *= 2
        for i in range(self.head, self.tail):
            if self.order[i].dialog != NULL:
                self.order[to] = self.order[i]
                self.order[to].dialog.place = to
                to += 1
        self.head, self.tail = 0, to
    if 3 * (self.count + 1) > 2 * (self.mask + 1):
        slots = 2 * (self.mask + 1)
        table = <Dialog**>calloc(slots, sizeof(Dialog*))
        if table == NULL:
            return False
        for i in range(self.head, self.tail):
            if self.order[i].dialog == NULL:
                continue
            slot = self.order[i].dialog.hash & (slots - 1)
            while table[slot] != NULL:
                slot = (slot + 1) & (slots - 1)
            table[slot] = self.order[i].dialog
        free(self.slots)
        self.slots, self.mask = table, slots - 1
    return True


cdef bint dialog_confirmed(Dialogs self, Reader* r, bint at_gateway) noexcept:
    # One that is known changes nothing. Without memory it is dropped, and counted, as when there are too many.
    cdef Span text[5]
    cdef uint64_t confirmed, hash, gateway = 0, size = 0
    cdef Dialog* d
    cdef uint8_t* at
    cdef int i
    for i in range(5):
        if not read_bytes(r, TEXT_LIMIT, &text[i]):
            return False
        size += text[i].length
    if not read_uint(r, &confirmed) or (at_gateway and not read_most(r, TARGETS, &gateway)):
        return False
    if gateway:
        dialogs_at(self, <uint32_t>gateway).heard += 1
    hash = dialog_hash(self, &text[0], &text[1], &text[2])
    if dialogs_find(self, hash, &text[0], &text[1], &text[2])[0] != NULL:
        return True
    if self.count and self.count >= self.limit:
        dialogs_remove(self, dialogs_oldest(self))
        self.dropped += 1
    d = <Dialog*>malloc(sizeof(Dialog) + size) if dialogs_make_room(self) else NULL
    if d == NULL:
        self.dropped += 1
        return True
    d.hash, d.confirmed, d.place, d.gateway = hash, confirmed, self.tail, <uint32_t>gateway
    if gateway:
        dialogs_at(self, d.gateway).open += 1
    at = d.text
    for i in range(5):
        d.length[i] = <uint16_t>text[i].length
        memcpy(at, text[i].data, text[i].length)
        at += text[i].length
    dialogs_find(self, hash, &text[0], &text[1], &text[2])[0] = d
    self.order[self.tail].number = self.next
    self.order[self.tail].dialog = d
    self.tail += 1
    self.next += 1
    self.count += 1
    return True


cdef bint dialog_ended(Dialogs self, Reader* r) noexcept:
    # Either side may have sent the BYE, so its tags may be the other way round.
    cdef Span call_id, a, b
    cdef uint64_t hash
    cdef Dialog* d
    if not (read_bytes(r, TEXT_LIMIT, &call_id) and read_bytes(r, TEXT_LIMIT, &a) and read_bytes(r, TEXT_LIMIT, &b)):
        return False
    hash = dialog_hash(self, &call_id, &a, &b)
    d = dialogs_find(self, hash, &call_id, &a, &b)[0]
    if d == NULL:
        d = dialogs_find(self, hash, &call_id, &b, &a)[0]
    if d != NULL:
        dialogs_remove(self, d)
    return True
