# The Python face: fastsip/_message.pyi says what it is for. Values are text by UTF-8, with surrogate escapes for what is
# none, so that encoding them the same way gives the received bytes back.

cdef str to_text(const uint8_t* data, Slice s):
    return data[s.start:s.end].decode("utf-8", "surrogateescape")

# 7.3.1: a fold is one space.
cdef str unfold(str text):
    return " ".join([part.strip(" \t") for part in text.replace("\r\n", "\n").split("\n")])

cdef class Headers:
    cdef MessageView message

    def __init__(self):
        raise TypeError("headers come from fastsip.parse")

    cdef str value_of(self, uint32_t index):
        cdef const Header* header = &self.message.m.headers[index]
        cdef str text = to_text(self.message.m.data, make_slice(header.value, header.end))
        return unfold(text) if header.folded else text

    cdef str name_of(self, uint32_t index):
        cdef uint32_t at = self.message.m.headers[index].name
        cdef Slice name = make_slice(at, skip_class(self.message.m.data, at, self.message.m.size, CHAR_TOKEN))
        return to_text(self.message.m.data, name)

    # Indices of the lines with this name, in any case and in its long or compact form.
    cdef list lines(self, str name):
        cdef bytes wanted = name.encode("utf-8", "surrogateescape")
        cdef int ident = header_id(wanted, <uint32_t>len(wanted))
        cdef uint32_t index
        cdef str folded = name.lower()
        if ident != HDR_UNKNOWN:
            return [index for index in range(self.message.m.header_count)
                    if self.message.m.headers[index].id == ident]
        return [index for index in range(self.message.m.header_count)
                if self.message.m.headers[index].id == HDR_UNKNOWN and self.name_of(index).lower() == folded]

    def __len__(self):
        return self.message.m.header_count

    def __iter__(self):
        for index in range(self.message.m.header_count):
            yield self.name_of(index), self.value_of(index)

    def __contains__(self, name):
        return isinstance(name, str) and bool(self.lines(name))

    def __getitem__(self, str name not None):
        found = self.lines(name)
        if not found:
            raise KeyError(name)
        return self.value_of(found[0])

    def get(self, str name not None, default=None):
        found = self.lines(name)
        return self.value_of(found[0]) if found else default

    def lines_of(self, str name not None):
        return [self.value_of(index) for index in self.lines(name)]

    def values(self, str name not None):
        cdef uint32_t at, behind, end, stop, index
        cdef const uint8_t* data = self.message.m.data
        result = []
        for index in self.lines(name):
            at = self.message.m.headers[index].value
            end = self.message.m.headers[index].end
            while at < end:
                behind = skip_value(data, at, end)
                if behind == 0:
                    raise ParseError("a quote or bracket does not close", offset=self.message.skipped + at, status=400,
                                     header=name)
                text = unfold(to_text(data, make_slice(at, behind - 1))).strip()
                if text:
                    result.append(text)
                at = behind
        return result

    def __repr__(self):
        return f"Headers({list(self)!r})"

cdef class MessageView:
    cdef Message m
    cdef uint32_t skipped
    cdef readonly bytes buffer

    def __init__(self):
        raise TypeError("use fastsip.parse")

    cdef object text_or_none(self, Slice s):
        return None if s.end == 0 else to_text(self.m.data, s)

    @property
    def is_request(self):
        return self.m.kind == KIND_REQUEST

    @property
    def method(self):
        return to_text(self.m.data, self.m.method_text if self.m.kind == KIND_REQUEST else self.m.cseq_method_text)

    @property
    def uri(self):
        return self.text_or_none(self.m.uri)

    @property
    def status(self):
        return self.m.status if self.m.kind == KIND_RESPONSE else None

    @property
    def reason(self):
        return to_text(self.m.data, self.m.reason) if self.m.kind == KIND_RESPONSE else None

    @property
    def headers(self):
        cdef Headers headers = Headers.__new__(Headers)
        headers.message = self
        return headers

    @property
    def via(self):
        return unfold(to_text(self.m.data, self.m.via.whole))

    @property
    def branch(self):
        return self.text_or_none(self.m.via.branch)

    @property
    def call_id(self):
        return to_text(self.m.data, self.m.call_id)

    @property
    def cseq(self):
        return self.m.cseq

    @property
    def from_tag(self):
        return self.text_or_none(self.m.from_tag)

    @property
    def to_tag(self):
        return self.text_or_none(self.m.to_tag)

    @property
    def max_forwards(self):
        return None if self.m.max_forwards < 0 else self.m.max_forwards

    @property
    def body(self):
        return self.buffer[self.skipped + self.m.body:self.skipped + self.m.size]

    def __len__(self):
        return self.m.size

    def __bytes__(self):
        return self.buffer[self.skipped:self.skipped + self.m.size]

    def __repr__(self):
        if self.m.kind == KIND_REQUEST:
            return f"<Message {self.method} {self.uri}>"
        return f"<Message {self.status} {self.reason} to {self.method}>"

def parse(buffer):
    cdef MessageView view = MessageView.__new__(MessageView)
    cdef const uint8_t* data
    cdef uint32_t length
    cdef int result
    view.buffer = buffer if type(buffer) is bytes else bytes(memoryview(buffer))
    if len(view.buffer) > 0xFFFFFF:
        raise ParseError("message above 65507 bytes", offset=65507, status=513)
    data = view.buffer
    length = <uint32_t>len(view.buffer)
    result = parse_message(&view.m, data, length, DATAGRAM)
    view.skipped = <uint32_t>(view.m.data - data)
    if result == NEED_MORE:
        raise ParseError("message ends before its header section does", offset=len(view.buffer), status=400)
    if result == MALFORMED:
        raise ParseError((<bytes>view.m.error).decode(), offset=view.skipped + view.m.error_offset,
                         status=view.m.error_status, header=(<bytes>header_names[view.m.error_header]).decode())
    return view

def python_uri_equal(const uint8_t[::1] a not None, const uint8_t[::1] b not None):
    return bool(uri_equal(&a[0], <uint32_t>min(a.shape[0], 0x10000), &b[0], <uint32_t>min(b.shape[0], 0x10000)))

def python_canonical_aor(const uint8_t[::1] uri not None):
    cdef Uri parsed
    cdef uint8_t[1024] out
    cdef uint32_t length
    if uri.shape[0] > 0xFFFF or not parse_uri(&uri[0], make_slice(0, <uint32_t>uri.shape[0]), &parsed):
        return None
    length = canonical_aor(&uri[0], &parsed, out, sizeof(out))
    return <bytes>out[:length] if length else None

# The compiled functions have these names in C, where Python does not see them.
globals().update(Message=MessageView, uri_equal=python_uri_equal, canonical_aor=python_canonical_aor)
