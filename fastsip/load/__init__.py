"""The load generator: what is around the compiled engine `fastsip._load`."""
