"""For the tests and benchmarks alone: Python faces of compiled layers that have none. Nothing of fastsip imports it."""

include "testing/wheel.pxi"
include "testing/machines.pxi"
include "testing/transactions.pxi"
include "testing/lookups.pxi"
include "testing/measure.pxi"
include "testing/small.pxi"
include "testing/websocket.pxi"
