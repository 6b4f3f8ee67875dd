"""Numbers and gateways: where calls to numbers and to other domains go, and whether those who take them are well.

Nothing here sends anything but the prober's OPTIONS: a dial plan writes plans (`fastsip.policy.plan`), and the compiled
core executes them.
"""

from .choice import Choice, Gateway
from .dialplan import DialPlan
from .numbers import Number, number_of

__all__ = ["Choice", "DialPlan", "Gateway", "Number", "number_of"]
