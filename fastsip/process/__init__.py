"""Processes: the master, its workers, and what they are handed."""
