"""A stage for policies: your module decides, with no server, no network and no real time.

    from fastsip.testing import Stage

    def test_closed_on_sundays():
        with Stage("my_routing", at=datetime(2026, 11, 29, 12, tzinfo=UTC)) as stage:
            plan = stage.call("INVITE", "sip:sales@example.com", from_="sip:alice@example.com")
            assert plan == redirect("sip:voicemail@example.com")

    def test_busy_bob():
        with Stage("my_routing", contacts={"bob@example.com": "sip:bob@192.0.2.7"}) as stage:
            plan = stage.call("INVITE", "sip:bob@example.com")
            assert [target.uri for target in plan.steps[0].targets] == ["sip:bob@192.0.2.7"]
            assert stage.fail(486) == fork("sip:bob@voicemail.example.com")

A coroutine that sleeps a minute takes no time, and `stage.elapsed` says that a minute has passed. What asks
`fastsip.policy.now` for the time of day is as late as the stage.
"""

from fastsip.testing.engine import Device, Engine
from fastsip.testing.scene import Call, Phone, Scene
from fastsip.testing.stage import Gateway, PlanIsLate, Stage, call

__all__ = ["Call", "Device", "Engine", "Gateway", "Phone", "PlanIsLate", "Scene", "Stage", "call"]
