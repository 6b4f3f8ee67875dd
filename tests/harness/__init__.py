"""What the process tests share: servers, SIPp at both ends, messages, flows. See stage.py for how flows are played."""

from .ladder import (
    Call,
    arrows,
    check_challenge,
    check_forwarded,
    check_order,
    check_record_route,
    check_response,
    once,
)
from .peers import requires_peer
from .phone import Phone, digest
from .ports import free_port
from .server import QUICK_TIMERS, Kamailio, Server
from .sipp import Outcome, Sipp, count
from .stage import PASSWORD, Flow, House, Played, Scene, Stage, play_call
from .wire import Message, parameters, tag

__all__ = [
    "PASSWORD",
    "QUICK_TIMERS",
    "Call",
    "Flow",
    "House",
    "Kamailio",
    "Message",
    "Outcome",
    "Phone",
    "Played",
    "Scene",
    "Server",
    "Sipp",
    "Stage",
    "arrows",
    "check_challenge",
    "check_forwarded",
    "check_order",
    "check_record_route",
    "check_response",
    "count",
    "digest",
    "free_port",
    "once",
    "parameters",
    "play_call",
    "requires_peer",
    "tag",
]
