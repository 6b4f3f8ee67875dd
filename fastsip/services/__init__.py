"""Services of users: data that says where calls to an address-of-record go, and who may not call.

`record` is the data, `planner` makes route plans of it, `source` reads it where the state process publishes it.
"""

from fastsip.services.record import Record

__all__ = ["Record"]
