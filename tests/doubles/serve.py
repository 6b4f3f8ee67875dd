"""`fastsip` with doubles for children."""

from fastsip.cli import main
from fastsip.process import master, workers

workers.MODULE = "double_worker"
master.STATE_MODULE = "double_state"
main()
