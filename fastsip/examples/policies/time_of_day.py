"""Time of day: while the office is open its phones ring, else the caller is sent to voicemail or to whoever is on duty.

    [policy]
    module = "fastsip.examples.policies.time_of_day"
"""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from fastsip.policy import BUSY, NO_ANSWER, UNAVAILABLE, Plan, Request, lookup, now, redirect, step

METHODS = ("INVITE",)

ZONE = ZoneInfo("America/Chicago")
HOURS = {day: (time(9), time(17, 30)) for day in range(5)}
"""By weekday, Monday is 0; the others are closed all day."""
HOLIDAYS = {date(2026, 12, 25), date(2027, 1, 1)}

OFFICE = "sales@example.com"
AGENTS = ("alice@example.com", "bob@example.com")
RING_TIME = 20
VOICEMAIL = "sip:sales@voicemail.example.com"
ON_DUTY = "sip:+13125550100@example.com"
URGENT = "sip:support@partner.example.net"
"""Who is put through to the one on duty."""


def route(request: Request) -> Plan | None:
    """Calls to the office; every other one goes as without this module."""
    if request.aor != OFFICE:
        return None
    if is_open(datetime.fromtimestamp(now(), ZONE)):
        agents = [contact for agent in AGENTS for contact in lookup(agent)]
        voicemail = step(VOICEMAIL)
        if not agents:
            return Plan((voicemail,))
        return Plan((step(*agents, ring_time=RING_TIME, onward={NO_ANSWER, BUSY, UNAVAILABLE}), voicemail))
    if str(request.from_.uri) == URGENT:
        return Plan((step(ON_DUTY),))
    return redirect(VOICEMAIL)


def is_open(moment: datetime) -> bool:
    """Whether somebody is in the office at this local time."""
    opens, closes = HOURS.get(moment.weekday(), (time(0), time(0)))
    return moment.date() not in HOLIDAYS and opens <= moment.time() < closes
