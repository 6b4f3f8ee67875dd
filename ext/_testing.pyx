"""For the tests and benchmarks alone: Python faces of compiled layers that have none. Nothing of fastsip imports it."""

include "transaction/testing_wheel.pxi"
