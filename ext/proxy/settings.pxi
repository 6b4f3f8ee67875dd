# Settings: launch.Settings as the hot path reads it. Built with the GIL when a worker starts or reloads, then read only.

import ipaddress

from fastsip.names import METHODS


cdef int copy_text(Text* out, text) except -1:
    cdef bytes data = text.encode("ascii") if isinstance(text, str) else bytes(text)
    out.length = len(data)
    out.data = <uint8_t*>malloc(len(data) + 1)
    if out.data == NULL:
        raise MemoryError
    memcpy(out.data, <const uint8_t*>data, len(data))
    return 0


cdef uint32_t method_bits(methods) except? 0xFFFFFFFF:
    cdef uint32_t bits = 0
    cdef bytes name
    for method in methods:
        if method == "*":
            return 0xFFFFFFFF & ~((1 << <int>METHOD_ACK) | (1 << <int>METHOD_CANCEL))
        name = method.encode("ascii")
        bits |= 1 << method_id(<const uint8_t*>name, len(name))
    return bits


cdef dict ASKS = {"requests": ASK_REQUESTS, "numbers": ASK_NUMBERS, "domains": ASK_DOMAINS, "responses": ASK_RESPONSES}


cdef uint32_t ask_bits(names) except? 0xFFFFFFFF:
    cdef uint32_t bits = 0
    for name in names:
        if name not in ASKS:
            raise ValueError(f"asks: {name!r} is none of {', '.join(ASKS)}")
        bits |= ASKS[name]
    return bits


cdef dict NAT_CONTACTS = {"off": NAT_OFF, "auto": NAT_AUTO, "always": NAT_ALWAYS}
cdef dict ROLES = {"proxy": ROLE_PROXY, "redirect": ROLE_REDIRECT, "stateless": ROLE_STATELESS}


cdef dict GATEWAY_TRANSPORTS = {"udp": TRANSPORT_UDP, "tcp": TRANSPORT_TCP, "tls": TRANSPORT_TLS}


cdef Settings* settings_new(object settings) except NULL:
    cdef Settings* s = <Settings*>calloc(1, sizeof(Settings))
    cdef uint32_t i
    cdef bytes packed
    if s == NULL:
        raise MemoryError
    try:
        s.domains = <Text*>calloc(len(settings.domains) + 1, sizeof(Text))
        s.listen = <Endpoint*>calloc(len(settings.listen) + 1, sizeof(Endpoint))
        s.trusted = <Network*>calloc(len(settings.trusted) + len(settings.gateways) + 1, sizeof(Network))
        s.roles = <uint8_t*>calloc(len(settings.domains) + 1, 1)
        if s.domains == NULL or s.listen == NULL or s.trusted == NULL or s.roles == NULL:
            raise MemoryError
        for domain in settings.domains:
            copy_text(&s.domains[s.domain_count], domain.lower())
            s.roles[s.domain_count] = ROLES[settings.roles.get(domain, "proxy")]
            s.domain_count += 1
        for host, port in settings.listen:
            copy_text(&s.listen[s.listen_count].host, host.lower().strip("[]"))
            s.listen[s.listen_count].port = port
            s.listen_count += 1
        s.listen_names = <Text*>calloc(len(settings.listen_names) + 1, sizeof(Text))
        if s.listen_names == NULL:
            raise MemoryError
        for text in settings.listen_names:
            copy_text(&s.listen_names[s.listen_name_count], text)
            s.listen_name_count += 1
        for text in [*settings.trusted, *(gateway.host for gateway in settings.gateways if gateway.trusted)]:
            network = ipaddress.ip_network(text, strict=False)
            packed = network.network_address.packed
            memcpy(s.trusted[s.believed_count].ip, <const uint8_t*>packed, len(packed))
            s.trusted[s.believed_count].family = network.version
            s.trusted[s.believed_count].bits = network.prefixlen
            s.believed_count += 1
        s.trusted_count = len(settings.trusted)
        s.believed_by = <uint8_t*>calloc(s.believed_count - s.trusted_count + 1, 1)
        if s.believed_by == NULL:
            raise MemoryError
        for i, gateway in enumerate(gateway for gateway in settings.gateways if gateway.trusted):
            s.believed_by[i] = <uint8_t>GATEWAY_TRANSPORTS[gateway.transport]
        copy_text(&s.realm, settings.realm or "")
        copy_text(&s.server, settings.server)
        s.required = method_bits(settings.required)
        s.algorithms = ((DIGEST_MD5 if "MD5" in settings.algorithms else 0)
                        | (DIGEST_SHA256 if "SHA-256" in settings.algorithms else 0))
        s.nonce_lifetime = settings.nonce_lifetime
        s.open_relay = settings.open_relay
        s.record_route = settings.record_route
        s.min_expires = settings.min_expires
        s.max_expires = settings.max_expires
        s.max_contacts = settings.max_contacts
        s.timer_c = settings.timer_c
        s.t1 = settings.t1
        s.trying = settings.trying
        s.asks = ask_bits(settings.asks)
        s.ask_methods = method_bits(settings.ask_methods)
        s.policy_timeout = settings.policy_timeout
        s.policy_waiting = settings.policy_waiting
        s.ring_time = settings.ring_time
        s.recurse = settings.recurse
        s.udp_max = settings.udp_max or 0xFFFFFFFF
        s.tls_alias = settings.tls_alias
        read_gateways(s, settings.gateways)
        s.nat_contact = NAT_CONTACTS[settings.nat_contact]
        s.flow_timer = settings.flow_timer
        s.keep = settings.keep
        s.path_supported = settings.path_supported
        copy_text(&s.service_route, "".join(f"Service-Route: {route}\r\n" for route in settings.service_route))
        s.dns_timeout = settings.dns_timeout
        s.dns_try_time = settings.dns_try_time
        for number in settings.stateless:
            s.stateless |= <uint32_t>1 << <int>number
    except BaseException:
        settings_free(s)
        raise
    return s


cdef int read_gateways(Settings* s, list gateways) except -1:
    # Of several at one address and transport the first, for it is met first.
    cdef uint32_t room = 2, at
    cdef Address address
    cdef bytes host
    if not gateways:
        return 0
    while room < 2 * <uint32_t>len(gateways):
        room *= 2
    s.gateways = <GatewayAt*>calloc(room, sizeof(GatewayAt))
    if s.gateways == NULL:
        raise MemoryError
    s.gateway_room = room
    for gateway in gateways:
        host = gateway.host.encode()
        if not address_parse(&address, <const uint8_t*>host, <uint32_t>len(host), gateway.port):
            raise ValueError(f"gateways: {gateway.host!r} is no address")
        at = place_of(s, &address)
        while s.gateways[at].gateway:
            at = (at + 1) & (room - 1)
        s.gateways[at].address, s.gateways[at].gateway = address, <uint32_t>gateway.slot + 1
        s.gateways[at].transport = <uint8_t>GATEWAY_TRANSPORTS[gateway.transport]
    return 0


cdef void settings_free(Settings* s) noexcept nogil:
    cdef uint32_t i
    if s == NULL:
        return
    for i in range(s.domain_count):
        free(s.domains[i].data)
    for i in range(s.listen_count):
        free(s.listen[i].host.data)
    for i in range(s.listen_name_count):
        free(s.listen_names[i].data)
    free(s.domains)
    free(s.listen)
    free(s.listen_names)
    free(s.trusted)
    free(s.believed_by)
    free(s.realm.data)
    free(s.server.data)
    free(s.service_route.data)
    free(s.roles)
    free(s.gateways)
    free(s)
