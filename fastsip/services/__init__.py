"""Services of users: data that says where calls to an address-of-record go, and who may not call.

`record` is the data, `Services` makes route plans of it, `source` reads it where the state process publishes it.
"""

from fastsip.services.planner import Screened, Services
from fastsip.services.record import Record

__all__ = ["Record", "Screened", "Services"]
