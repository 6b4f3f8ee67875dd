"""A state process for tests of the master: says ready, answers queries, follows the channel."""

import os
import sys

import msgspec
import zmq

from fastsip.launch import StateSetup, child_channel

with open(int(sys.argv[1]), "rb") as file:
    setup = msgspec.json.decode(file.read(), type=StateSetup)
channel = child_channel(int(sys.argv[2]))
users = [list(user[:2]) for user in setup.users]
router = zmq.Context.instance().socket(zmq.ROUTER)
router.bind(setup.endpoint)
poller = zmq.Poller()
poller.register(router, zmq.POLLIN)
poller.register(channel.fileno(), zmq.POLLIN)
channel.send({"is": "ready"})
while not channel.closed:
    events = dict(poller.poll(200))
    if router in events:
        who, kind, *frames = router.recv_multipart()
        if kind == b"Q":
            number, command, arguments = msgspec.msgpack.decode(frames[0])
            result = {"bindings": 0, "users": len(users), "pid": os.getpid()}
            if command == "users":
                result = {"next": None, "users": [{"username": u, "domain": d, "from": "double"} for u, d in users]}
            router.send_multipart([who, b"R", msgspec.msgpack.encode([number, True, result])])
    if channel.fileno() in events:
        for message, _ in channel.receive():
            if message["do"] == "stop":
                sys.exit(0)
            if message["do"] == "ping":
                channel.send({"is": "pong"})
            if message["do"] == "reload":
                users = [list(user[:2]) for user in message["settings"]["users"]]
                channel.send({"is": "reloaded"})
