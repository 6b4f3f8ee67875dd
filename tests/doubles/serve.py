"""`fastsip` with doubles for children, and less patience."""

from fastsip.cli import main
from fastsip.process import following, keys, listeners, reload, statekeeper, takeover, workers

workers.MODULE = "double_worker"
statekeeper.MODULE = "double_state"
workers.HUNG_AFTER = 1.5
statekeeper.HUNG_AFTER = 3.0
takeover.RETRY = 2.0
following.FIRST = 0.5
reload.LIMIT = 1.5
takeover.TRIAL = 3.0
keys.WAIT = listeners.WAIT = 1.5
main()
