"""Kills a tor that is at work, and prints three numbers: the packets with payload that left by its
connections in some time before, those that left later than 5 ms after the signal was sent, and the
milliseconds from then until the last one. A session by tor has no other connections to the world."""

import os
import select
import socket
import struct
import sys
import time

ETH_P_ALL, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 3, 33, 35
tor = int(sys.argv[1])


def ports():
    """The local ports of tor's connections."""
    inodes = set()
    for name in os.listdir(f"/proc/{tor}/fd"):
        try:
            link = os.readlink(f"/proc/{tor}/fd/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    found = set()
    for line in open(f"/proc/{tor}/net/tcp").read().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes:
            found.add(int(words[1].split(":")[1], 16))
    return found


sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
sniffer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def packets(until):
    """The moments at which packets with payload left by tor's ports. Each is seen as it leaves."""
    while (left := until - time.time()) > 0:
        if not select.select([sniffer], [], [], left)[0]:
            return
        frame, data, _, (_, _, kind, _, _) = sniffer.recvmsg(256, 64)
        if kind != socket.PACKET_OUTGOING or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        head = 14 + (frame[14] & 15) * 4
        length = struct.unpack("!H", frame[16:18])[0]
        payload = length - (head - 14) - (frame[head + 12] >> 4) * 4
        if payload > 0 and struct.unpack("!H", frame[head:head + 2])[0] in known:
            seconds, nanoseconds = struct.unpack("qq", data[0][2])
            yield seconds + nanoseconds / 1e9


before = 0
for _ in range(100):
    known = ports()
    if before := len(list(packets(time.time() + 0.3))):
        break
process = os.pidfd_open(tor)
died = time.time()
os.kill(tor, 9)
select.select([process], [], [])
after = [moment - died for moment in packets(died + 1)]
late = [moment for moment in after if moment > 0.005]
print(before, len(late), round(max(after, default=0.0) * 1e3, 3))
