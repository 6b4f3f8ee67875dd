"""Policies to begin with: copy one beside your configuration, or name it in `[policy] module`."""
