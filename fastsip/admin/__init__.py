"""Asking and telling a running server: the control socket, its protocol and `fastsip ctl`.

Protocol: a Unix stream socket, mode 0600. A request is one JSON object a line, `{"do": COMMAND, ...arguments}`. The
answer is any number of lines `{"item": {...}}` and then one line `{"ok": true, "result": {...}}` or
`{"ok": false, "error": TEXT}`. Requests of one connection are answered in order. Commands:

    stats                       result: see `fastsip.admin.statistics`
    contacts    [aor]           items: aor uri q expires_in call_id cseq source transport parameters updated
    users                       items: username domain from ("configuration" or "store")
    users_add   username and password, or ha1 and ha1_sha256; domain
    users_remove username, domain
    services    [aor]           items: aor from ("configuration" or "store") and the services that are set, by name
    services_set aor, services (by name; null for the default)         result: aor services, warning if nobody has them
    services_unset aor, names (none for all)                           result: aor services
    services_replace records (services by address-of-record): all of them or none is changed
    gateways                    items: see `fastsip.admin.gateways`
    dialogs                     items: as the state process keeps them
    reload                      result: {}; the error text has one line for each mistake
    drain                       result: {}; the server ends when its calls are set up or drain_timeout has passed
"""
