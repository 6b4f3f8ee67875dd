# The Python face: fastsip/_message.pyi says what it is for. A view holds the bytes and says where in them it looks;
# values are made when asked for. Text is UTF-8 with surrogate escapes for what is none, so that encoding it the same way
# gives the received bytes back.
#
# The classes are left out of garbage collection: what they hold are bytes and views, which never refer back.

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text) noexcept
    void* PyUnicode_1BYTE_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    str PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)
    bytes PyBytes_FromStringAndSize(const char* data, Py_ssize_t size)
    object PyMemoryView_GetContiguous(object buffer, int kind, char order)
    Py_buffer* PyMemoryView_GET_BUFFER(object view) noexcept
    void* PyMem_Malloc(size_t size) noexcept
    void PyMem_Free(void* memory) noexcept
    enum: PyBUF_READ
    ctypedef struct PyTypeObject:
        const char* tp_name
        PyObject* tp_dict
        void* tp_new
        void* tp_vectorcall
    void PyType_Modified(PyTypeObject* kind) noexcept
    int PyDict_DelItemString(object dictionary, const char* key) except -1

cdef tuple HEADER_NAMES = ("", *[name for name, _ in HEADERS])
cdef tuple METHOD_NAMES = ("", *METHODS)
cdef tuple TRANSPORT_NAMES = ("", "UDP", "TCP", "TLS", "SCTP", "WS", "WSS")

cdef inline str text_of(const uint8_t* data, uint32_t start, uint32_t end):
    return PyUnicode_DecodeUTF8(<const char*>data + start, end - start, b"surrogateescape")

cdef inline str to_text(const uint8_t* data, Slice s):
    return text_of(data, s.start, s.end)

cdef inline object text_or_none(const uint8_t* data, Slice s):
    return None if s.end == 0 else to_text(data, s)

# 7.3.1: a fold is one space.
cdef str unfold(str text):
    return " ".join([part.strip(" \t") for part in text.replace("\r\n", "\n").split("\n")])

cdef str unfolded(const uint8_t* data, Slice s):
    cdef str text = to_text(data, s)
    return unfold(text) if scan_byte(data, s.start, s.end, LF) < s.end else text

cdef object broken(str reason, MessageView message, uint32_t at, int header):
    return ParseError(reason, offset=message.skipped + at, status=400, header=HEADER_NAMES[header])

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class Headers:
    cdef MessageView message

    cdef str value_of(self, uint32_t index):
        cdef const Header* header = &self.message.m.headers[index]
        cdef str text = text_of(self.message.m.data, header.value, header.end)
        return unfold(text) if header.folded else text

    cdef Slice name_at(self, uint32_t index):
        cdef uint32_t at = self.message.m.headers[index].name
        return make_slice(at, skip_class(self.message.m.data, at, self.message.m.size, CHAR_TOKEN))

    cdef str name_of(self, uint32_t index):
        cdef int ident = self.message.m.headers[index].id
        cdef Slice name = self.name_at(index)
        cdef const char* usual = header_names[ident]
        if ident and strlen(usual) == slice_length(name) \
                and memcmp(usual, self.message.m.data + name.start, slice_length(name)) == 0:
            return <str>HEADER_NAMES[ident]
        return to_text(self.message.m.data, name)

    # The first line from `index` on with this name, in any case and in its long or compact form; -1 if there is none.
    cdef int line_from(self, uint32_t index, str name) except -2:
        cdef const Message* m = self.message.m
        cdef Py_ssize_t length
        cdef const char* wanted
        cdef bytes encoded
        cdef int ident
        cdef Slice found
        if PyUnicode_IS_COMPACT_ASCII(name):
            wanted, length = <const char*>PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name)
        else:
            encoded = name.encode("utf-8", "surrogateescape")
            wanted, length = encoded, len(encoded)
        if length > 0xFFFF:
            return -1
        ident = header_id(<const uint8_t*>wanted, <uint32_t>length)
        if ident != HDR_UNKNOWN:
            if not has_header(m, ident):
                return -1
            index = max(index, m.first[ident])
            while index < m.header_count:
                if m.headers[index].id == ident:
                    return <int>index
                index += 1
            return -1
        while index < m.header_count:
            if m.headers[index].id == HDR_UNKNOWN:
                found = self.name_at(index)
                if slice_length(found) == length \
                        and same_folded(m.data + found.start, <const uint8_t*>wanted, <uint32_t>length):
                    return <int>index
            index += 1
        return -1

    cdef list lines(self, str name):
        cdef list found = []
        cdef int index = self.line_from(0, name)
        while index >= 0:
            found.append(index)
            index = self.line_from(index + 1, name)
        return found

    def __len__(self):
        return self.message.m.header_count

    def __iter__(self):
        for index in range(self.message.m.header_count):
            yield self.name_of(index), self.value_of(index)

    def __contains__(self, name):
        return isinstance(name, str) and self.line_from(0, name) >= 0

    def __getitem__(self, str name not None):
        cdef int index = self.line_from(0, name)
        if index < 0:
            raise KeyError(name)
        return self.value_of(index)

    def get(self, str name not None, default=None):
        cdef int index = self.line_from(0, name)
        return default if index < 0 else self.value_of(index)

    def lines_of(self, str name not None):
        return [self.value_of(index) for index in self.lines(name)]

    # The values of all lines with this name as offsets, empty ones left out (7.3.1).
    cdef list slices(self, str name):
        cdef const uint8_t* data = self.message.m.data
        cdef uint32_t at, behind, end, stop
        cdef list result = []
        for index in self.lines(name):
            at = self.message.m.headers[<int>index].value
            end = self.message.m.headers[<int>index].end
            while at < end:
                behind = skip_value(data, at, end)
                if behind == 0:
                    raise broken("a quote or bracket does not close", self.message, at,
                                 self.message.m.headers[<int>index].id)
                at = skip_blank(data, at, behind - 1)
                stop = behind - 1
                while stop > at and is_blank(data[stop - 1]):
                    stop -= 1
                if stop > at:
                    result.append(make_slice(at, stop))
                at = behind
        return result

    def values(self, str name not None):
        cdef Slice value
        result = []
        for value in self.slices(name):
            result.append(unfolded(self.message.m.data, value))
        return result

    def addresses(self, str name not None):
        cdef Slice value
        cdef list slices = self.slices(name)
        cdef int ident = self.message.m.headers[self.line_from(0, name)].id if slices else 0
        result = []
        for value in slices:
            result.append(name_addr_of(self.message, value, ident))
        return result

    def __repr__(self):
        return f"Headers({list(self)!r})"

cdef list addresses_of(MessageView message, int header):
    cdef uint16_t line = 0
    cdef Slice rest = make_slice(0, 0), value
    cdef int more
    cdef list result = []
    while True:
        more = next_value(message.m, header, &line, &rest, &value)
        if more == 0:
            return result
        if more < 0:
            raise broken("not a list of addresses", message, message.m.headers[line - 1].value, header)
        result.append(name_addr_of(message, value, header))

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class MessageView:
    def __dealloc__(self):
        PyMem_Free(self.m)

    @property
    def is_request(self):
        return self.m.kind == KIND_REQUEST

    @property
    def method(self):
        if self.m.method != METHOD_UNKNOWN:
            return <str>METHOD_NAMES[self.m.method]
        return to_text(self.m.data, self.m.method_text if self.m.kind == KIND_REQUEST else self.m.cseq_method_text)

    @property
    def uri(self):
        return uri_of(self, self.m.data, self.m.uri, self.skipped, "") if self.m.kind == KIND_REQUEST else None

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
        cdef ViaView via = ViaView.__new__(ViaView)
        via.owner, via.via, via.data = self, self.m.via, self.m.data
        return via

    @property
    def vias(self):
        cdef uint16_t line = 0
        cdef Slice rest = make_slice(0, 0), value
        cdef ViaView via
        cdef int more
        result = []
        while True:
            more = next_value(self.m, HDR_VIA, &line, &rest, &value)
            if more == 0:
                return result
            via = ViaView.__new__(ViaView)
            via.owner, via.data = self, self.m.data
            if more < 0 or not parse_via(self.m.data, value, &via.via):
                raise broken("a Via below the topmost is malformed", self, self.m.headers[line - 1].value, HDR_VIA)
            result.append(via)

    @property
    def branch(self):
        return text_or_none(self.m.data, self.m.via.branch)

    @property
    def call_id(self):
        return to_text(self.m.data, self.m.call_id)

    @property
    def cseq(self):
        return self.m.cseq

    @property
    def from_(self):
        return name_addr_of(self, header_value(self.m, HDR_FROM), HDR_FROM)

    @property
    def to(self):
        return name_addr_of(self, header_value(self.m, HDR_TO), HDR_TO)

    @property
    def from_tag(self):
        return text_or_none(self.m.data, self.m.from_tag)

    @property
    def to_tag(self):
        return text_or_none(self.m.data, self.m.to_tag)

    @property
    def contacts(self):
        return addresses_of(self, HDR_CONTACT)

    @property
    def routes(self):
        return addresses_of(self, HDR_ROUTE)

    @property
    def record_routes(self):
        return addresses_of(self, HDR_RECORD_ROUTE)

    @property
    def max_forwards(self):
        return None if self.m.max_forwards < 0 else self.m.max_forwards

    @property
    def content_length(self):
        return None if self.m.content_length < 0 else self.m.content_length

    @property
    def expires(self):
        cdef Slice value = header_value(self.m, HDR_EXPIRES)
        cdef long seconds
        if not has_header(self.m, HDR_EXPIRES):
            return None
        seconds = parse_number(self.m.data, value)
        if seconds < 0:
            raise broken("not a number of seconds", self, value.start, HDR_EXPIRES)
        return seconds

    @property
    def body(self):
        return memoryview(self.buffer)[self.skipped + self.m.body:self.skipped + self.m.size]

    def __len__(self):
        return self.m.size

    def __bytes__(self):
        return PyBytes_FromStringAndSize(<const char*>self.m.data, self.m.size)

    def __repr__(self):
        if self.m.kind == KIND_REQUEST:
            return f"<Message {self.method} {to_text(self.m.data, self.m.uri)}>"      # be it a URI or not
        return f"<Message {self.status} {self.reason} to {self.method}>"

# Bytes, and what promises not to change, are held; what may change is copied.
cdef object steady(object buffer, const uint8_t** data, Py_ssize_t* length):
    cdef Py_buffer* inside
    if type(buffer) is bytes:
        data[0], length[0] = <const uint8_t*><char*>buffer, len(<bytes>buffer)
        return buffer
    view = PyMemoryView_GetContiguous(buffer, PyBUF_READ, c"C")
    inside = PyMemoryView_GET_BUFFER(view)
    if not inside.readonly:
        return steady(PyBytes_FromStringAndSize(<const char*>inside.buf, inside.len), data, length)
    data[0], length[0] = <const uint8_t*>inside.buf, inside.len
    return view if inside.itemsize == 1 and inside.ndim == 1 else view.cast("B")

def parse(buffer):
    return parse_view(buffer)

cdef MessageView parse_view(object buffer):
    cdef MessageView view = MessageView.__new__(MessageView)
    cdef Message m
    cdef const uint8_t* data
    cdef Py_ssize_t length
    cdef size_t size
    cdef int result
    view.buffer = steady(buffer, &data, &length)
    if length > 0xFFFFFF:
        raise ParseError("message above 65507 bytes", offset=65507, status=513)
    result = parse_message(&m, data, <uint32_t>length, DATAGRAM)
    view.skipped = <uint32_t>(m.data - data)
    if result == NEED_MORE:
        raise ParseError("message ends before its header section does", offset=length, status=400)
    if result == MALFORMED:
        raise ParseError((<bytes>m.error).decode(), offset=view.skipped + m.error_offset, status=m.error_status,
                         header=HEADER_NAMES[m.error_header])
    size = <size_t>(<char*>&m.headers[m.header_count + 1] - <char*>&m)
    view.m = <Message*>PyMem_Malloc(size)
    if view.m == NULL:
        raise MemoryError
    memcpy(view.m, &m, size)
    return view

def python_uri_equal(const uint8_t[::1] a not None, const uint8_t[::1] b not None):
    return bool(uri_equal(&a[0], <uint32_t>min(a.shape[0], 0x10000), &b[0], <uint32_t>min(b.shape[0], 0x10000)))

def python_canonical_aor(const uint8_t[::1] uri not None):
    cdef Uri parsed
    if uri.shape[0] > 0xFFFF or not parse_uri(&uri[0], make_slice(0, <uint32_t>uri.shape[0]), &parsed):
        return None
    return aor_of(&uri[0], &parsed)

# In C the structs have these names. What a factory alone may make has no constructor: an empty one would point nowhere.
cdef int show(object kind, const char* name) except -1:
    (<PyTypeObject*>kind).tp_name = name
    return 0

cdef int seal_type(object kind, const char* name) except -1:
    cdef PyTypeObject* type_object = <PyTypeObject*>kind
    PyDict_DelItemString(<object>type_object.tp_dict, b"__new__")
    type_object.tp_new = type_object.tp_vectorcall = NULL
    PyType_Modified(type_object)
    return show(kind, name)

seal_type(MessageView, b"fastsip._message.Message")
seal_type(Headers, b"fastsip._message.Headers")
seal_type(NameAddrView, b"fastsip._message.NameAddr")
seal_type(ViaView, b"fastsip._message.Via")
seal_type(Parameters, b"fastsip._message.Parameters")
show(UriView, b"fastsip._message.Uri")
globals().update(Message=MessageView, Uri=UriView, NameAddr=NameAddrView, Via=ViaView,
                 uri_equal=python_uri_equal, canonical_aor=python_canonical_aor)
