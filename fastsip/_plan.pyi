"""Route plans as bytes, for the compiled core."""

from fastsip.policy.plan import Plan

def encode_plan(plan: Plan) -> bytes:
    """The bytes that `Worker.answer` takes.

    Raises ValueError naming the field that cannot be sent: a line break in a header, too many steps or targets, a step
    that leads back; TypeError if it is no Plan.
    """
