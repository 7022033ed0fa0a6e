"""Counts packets of this network namespace that carry a marker, or lead where a session tried to.

Arguments: the marker, and networks that only sessions send to. Prints `listens`, then for each such
packet a line, until its input ends.
"""

import ipaddress
import select
import socket
import sys

marker = sys.argv[1].encode()
networks = [ipaddress.ip_network(text) for text in sys.argv[2:]]
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
print("listens", flush=True)


def destination(packet):
    if packet[:1] and packet[0] >> 4 == 4:
        return ipaddress.ip_address(packet[16:20])
    if packet[:1] and packet[0] >> 4 == 6:
        return ipaddress.ip_address(packet[24:40])
    return None


while True:
    ready, _, _ = select.select([s, sys.stdin], [], [])
    if s in ready:
        packet, where = s.recvfrom(65536)
        # The loopback device shows each packet twice: 4 is one that is sent.
        if where[0] == "lo" and where[2] != 4:
            continue
        to = destination(packet)
        if marker in packet or any(to in network for network in networks if to and to.version == network.version):
            print("seen", to, where[0], packet[:80].hex(), flush=True)
    elif sys.stdin in ready:
        break
