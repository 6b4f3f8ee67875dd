# Views of one value: a URI, an address with parameters, a Via, a list of parameters. `owner` keeps `data` alive.

cdef object reads_same(object self, object other):
    if type(other) is str:
        return str(self) == other
    return str(self) == str(other) if type(other) is type(self) else NotImplemented

# The text of a quoted string, or of anything else as it is (25.1).
cdef str unquoted(const uint8_t* data, Slice s):
    cdef bytearray out
    cdef uint32_t at, end
    if slice_length(s) < 2 or data[s.start] != c'"':
        return to_text(data, s)
    at, end = s.start + 1, s.end - 1
    if scan_byte(data, at, end, c'\\') == end:
        return unfolded(data, make_slice(at, end))
    out = bytearray()
    while at < end:
        if data[at] == c'\\' and at + 1 < end:
            at += 1
        out.append(data[at])
        at += 1
    return unfold(out.decode("utf-8", "surrogateescape"))

# With "%41" as "A" (19.1.2).
cdef object unescaped(const uint8_t* data, Slice s):
    cdef bytearray out
    cdef uint32_t at = s.start
    if s.end == 0:
        return None
    if scan_byte(data, s.start, s.end, c'%') == s.end:
        return to_text(data, s)
    out = bytearray()
    while at < s.end:
        if data[at] == c'%' and at + 2 < s.end and hex_value(data[at + 1]) >= 0 and hex_value(data[at + 2]) >= 0:
            out.append(hex_value(data[at + 1]) << 4 | hex_value(data[at + 2]))
            at += 3
        else:
            out.append(data[at])
            at += 1
    return out.decode("utf-8", "surrogateescape")

cdef object host_of(const uint8_t* data, Slice host):
    if slice_length(host) and data[host.start] == c'[':
        return text_of(data, host.start + 1, host.end - 1)
    return text_or_none(data, host)

cdef object aor_of(const uint8_t* data, const Uri* uri):
    cdef uint8_t[1024] out
    cdef uint32_t length = canonical_aor(data, uri, out, sizeof(out))
    return <bytes>out[:length] if length else None

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class Parameters:
    cdef object owner
    cdef const uint8_t* data
    cdef Slice text

    cdef bint find(self, str name, Slice* value) except -1:
        cdef bytes wanted = name.encode("utf-8", "surrogateescape")
        if b"\0" in wanted:
            return False
        return find_parameter(self.data, self.text, wanted, value)

    cdef list pairs(self):
        cdef Slice rest = self.text, name, value
        cdef list found = []
        while next_parameter(self.data, &rest, &name, &value) > 0:
            found.append((to_text(self.data, name), unquoted(self.data, value)))
        return found

    def __getitem__(self, str name not None):
        cdef Slice value
        if not self.find(name, &value):
            raise KeyError(name)
        return unquoted(self.data, value)

    def get(self, str name not None, default=None):
        cdef Slice value
        return unquoted(self.data, value) if self.find(name, &value) else default

    def __contains__(self, name):
        cdef Slice value
        return isinstance(name, str) and self.find(name, &value)

    def __len__(self):
        return len(self.pairs())

    def __iter__(self):
        return iter(self.keys())

    def keys(self):
        return [name for name, _ in self.pairs()]

    def items(self):
        return self.pairs()

    def __str__(self):
        return unfolded(self.data, self.text)

    def __repr__(self):
        return f"Parameters({dict(self.pairs())!r})"

cdef Parameters parameters_of(object owner, const uint8_t* data, Slice text):
    cdef Parameters parameters = Parameters.__new__(Parameters)
    parameters.owner, parameters.data, parameters.text = owner, data, text
    return parameters

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class UriView:
    cdef object owner
    cdef const uint8_t* data
    cdef Uri uri

    def __cinit__(self, text=None):
        cdef Py_ssize_t length
        if text is None:
            return                       # made by uri_of
        if isinstance(text, str):
            text = (<str>text).encode("utf-8", "surrogateescape")
        self.owner = steady(text, &self.data, &length)
        if length > 0xFFFF or not parse_uri(self.data, make_slice(0, <uint32_t>length), &self.uri):
            raise ParseError("not a URI", offset=0, status=400)

    def __init__(self, text):
        if self.owner is None:
            raise TypeError("a URI is made of text or bytes")

    @property
    def scheme(self):
        return to_text(self.data, self.uri.scheme_text).lower()

    @property
    def user(self):
        return unescaped(self.data, self.uri.user)

    @property
    def password(self):
        return unescaped(self.data, self.uri.password)

    @property
    def host(self):
        return host_of(self.data, self.uri.host)

    @property
    def port(self):
        return self.uri.port or None

    @property
    def parameters(self):
        return parameters_of(self, self.data, self.uri.parameters)

    @property
    def headers(self):
        return to_text(self.data, self.uri.headers)

    @property
    def aor(self):
        found = aor_of(self.data, &self.uri)
        return None if found is None else (<bytes>found).decode("utf-8", "surrogateescape")

    def equivalent(self, UriView other not None):
        return bool(uri_equal(self.data + self.uri.whole.start, slice_length(self.uri.whole),
                              other.data + other.uri.whole.start, slice_length(other.uri.whole)))

    def __str__(self):
        return to_text(self.data, self.uri.whole)

    def __repr__(self):
        return f"Uri({str(self)!r})"

    def __eq__(self, other):
        return reads_same(self, other)

    def __hash__(self):
        return hash(str(self))

cdef UriView uri_of(object owner, const uint8_t* data, Slice text, uint32_t skipped, str header):
    cdef UriView view = UriView.__new__(UriView)
    view.owner, view.data = owner, data
    if not parse_uri(data, text, &view.uri):
        raise ParseError("not a URI", offset=skipped + text.start, status=400, header=header)
    return view

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class NameAddrView:
    cdef MessageView owner
    cdef NameAddr address
    cdef uint8_t header

    @property
    def display_name(self):
        return unquoted(self.owner.m.data, self.address.display) if self.address.display.end else None

    @property
    def uri(self):
        if self.address.star:
            return None
        return uri_of(self.owner, self.owner.m.data, self.address.uri, self.owner.skipped, HEADER_NAMES[self.header])

    @property
    def parameters(self):
        return parameters_of(self.owner, self.owner.m.data, self.address.parameters)

    @property
    def tag(self):
        return self.parameter(b"tag")

    cdef object parameter(self, const char* name):
        cdef Slice value
        found = find_parameter(self.owner.m.data, self.address.parameters, name, &value)
        return unquoted(self.owner.m.data, value) if found else None

    @property
    def expires(self):
        cdef Slice value
        cdef long seconds
        if not find_parameter(self.owner.m.data, self.address.parameters, b"expires", &value):
            return None
        seconds = parse_number(self.owner.m.data, value)
        return seconds if seconds >= 0 else None

    @property
    def q(self):
        cdef Slice value
        cdef int thousandths
        if not find_parameter(self.owner.m.data, self.address.parameters, b"q", &value):
            return None
        thousandths = parse_qvalue(self.owner.m.data, value)
        return thousandths / 1000.0 if thousandths >= 0 else None

    def __str__(self):
        return unfolded(self.owner.m.data, self.address.whole)

    def __repr__(self):
        return f"<NameAddr {str(self)}>"

    def __eq__(self, other):
        return reads_same(self, other)

    def __hash__(self):
        return hash(str(self))

cdef NameAddrView name_addr_of(MessageView message, Slice value, int header):
    cdef NameAddrView view = NameAddrView.__new__(NameAddrView)
    view.owner, view.header = message, <uint8_t>header
    if not parse_name_addr(message.m.data, value, &view.address):
        raise broken("not an address with parameters", message, value.start, header)
    return view

@cython.final
@cython.freelist(16)
@cython.no_gc
cdef class ViaView:
    cdef MessageView owner
    cdef const uint8_t* data
    cdef Via via

    @property
    def transport(self):
        cdef uint32_t end = self.via.host.start, start
        if self.via.transport:
            return <str>TRANSPORT_NAMES[self.via.transport]
        while is_blank(self.data[end - 1]):
            end -= 1
        start = end
        while char_class[self.data[start - 1]] & CHAR_TOKEN:
            start -= 1
        return text_of(self.data, start, end).upper()

    @property
    def host(self):
        return host_of(self.data, self.via.host)

    @property
    def port(self):
        return self.via.port or None

    @property
    def branch(self):
        return text_or_none(self.data, self.via.branch)

    @property
    def received(self):
        return text_or_none(self.data, self.via.received)

    @property
    def rport(self):
        cdef long port
        if not self.via.has_rport:
            return None
        port = parse_number(self.data, self.via.rport)
        return port if 0 <= port <= 65535 else 0

    @property
    def parameters(self):
        cdef uint32_t at = self.via.host.end, end = self.via.whole.end
        while at < end and self.data[at] != c';':
            at += 1
        return parameters_of(self.owner, self.data, make_slice(min(at + 1, end), end))

    def __str__(self):
        return unfolded(self.data, self.via.whole)

    def __repr__(self):
        return f"<Via {str(self)}>"

    def __eq__(self, other):
        return reads_same(self, other)

    def __hash__(self):
        return hash(str(self))
