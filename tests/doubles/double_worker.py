"""A worker for tests of the master. A datagram is a command: `who` is answered with worker and pid, `die` kills the
worker with the datagram in hand, `hang` stops its loop; `open` and `close` begin and end a call that holds up a drain.
`refuse` has it not follow the next reload, `mute` not answer it until `answer`, `stumble` say that it has begun badly.
"""

import mmap
import os
import selectors
import signal
import socket
import sys
import time

import msgspec

from fastsip._control import ControlView
from fastsip.launch import WorkerSetup, child_channel

with open(int(sys.argv[1]), "rb") as file:
    setup = msgspec.json.decode(file.read(), type=WorkerSetup)
channel = child_channel(int(sys.argv[2]))
control = ControlView(setup.control_fd)
words = mmap.mmap(setup.control_fd, 0)
slots = mmap.mmap(setup.slots_fd, 0)
me = setup.index
calls = 0
reloads = "follow"
drain_until = None
told = False
adopted = {}
selector = selectors.DefaultSelector()


def listen(fd):
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    selector.register(sock, selectors.EVENT_READ, datagram)
    return sock


def in_hand(data):
    """The compiled worker's transport_in_hand, found by looking where ControlView looks."""
    slots[: len(data)] = data
    for at in range(0, len(words) - 8, 4):
        before = words[at : at + 8]
        words[at : at + 8] = (1).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        if control.in_hand(me) == (0, len(data)):
            return
        words[at : at + 8] = before


def datagram(sock):
    global calls, reloads
    data, sender = sock.recvfrom(65536)
    word = data.split()[0]
    if word == b"who":
        sock.sendto(f"worker {me} {os.getpid()}".encode(), sender)
    elif word == b"die":
        in_hand(data)
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == b"hang":
        time.sleep(100)
    elif word == b"open":
        calls += 1
        sock.sendto(b"opened", sender)
    elif word == b"close":
        calls -= 1
    elif word in (b"refuse", b"mute"):
        reloads = word.decode()
    elif word == b"stumble":
        channel.send({"is": "stumbled", "error": "no database"})
    elif word == b"answer":
        reloads = "follow"
        channel.send({"is": "reloaded"})


def orders(_):
    global drain_until, reloads
    for message, fds in channel.receive():
        if message["do"] == "stop":
            sys.exit(0)
        if message["do"] == "drain":
            drain_until = time.monotonic() + setup.settings.drain_timeout / 1000
        if message["do"] == "adopt":
            adopted[message["worker"]] = [listen(fd) for fd in fds]
        if message["do"] == "release":
            for sock in adopted.pop(message["worker"], ()):
                selector.unregister(sock)
                sock.close()
        if message["do"] == "reload" and reloads != "mute":
            channel.send({"is": "reloaded", "error": "no database"} if reloads == "refuse" else {"is": "reloaded"})
            reloads = "follow"
    if channel.closed:
        sys.exit(0)


for listener in setup.listeners:
    listen(listener.fd)
selector.register(channel, selectors.EVENT_READ, orders)
control.beat(me)
channel.send({"is": "ready"})
while True:
    for key, _ in selector.select(0.1):
        key.data(key.fileobj)
    control.beat(me)
    if drain_until is not None and not told and (calls == 0 or time.monotonic() > drain_until):
        told = True
        channel.send({"is": "drained"})
