"""Instructions of the hot thread on fixed traffic: phones, a server under callgrind, and what it counted."""
