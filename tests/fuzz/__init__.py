"""Fuzzing: the compiled parser under libFuzzer, the whole server under a seeded mutator. `make fuzz` runs both."""
