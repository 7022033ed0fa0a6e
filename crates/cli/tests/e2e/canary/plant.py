"""Puts patterns where an app's data lives, then waits.

Reads the file `plants` of the current folder: one pattern per line, as its kind, the pattern
under a mask and the mask, both in hexadecimal. A pattern is unmasked where it belongs, byte by
byte, so that no other copy of it exists.
"""

import ctypes
import fcntl
import mmap
import os
import time

PAGES = 64 << 10
AT = 1000
libc = ctypes.CDLL(None, use_errno=True)
keep = []


def put(to, masked, mask, at=0):
    for i in range(len(mask)):
        to[at + i] = masked[i] ^ mask[i]


def unmasked(masked, mask):
    pattern = bytearray(len(mask))
    put(pattern, masked, mask)
    return pattern


def write(fd, masked, mask, at=None):
    pattern = unmasked(masked, mask)
    written = os.write(fd, pattern) if at is None else os.pwrite(fd, pattern, at)
    assert written == len(pattern)
    for i in range(len(pattern)):
        pattern[i] = 0


def mapping(flags, masked, mask, protection=None):
    memory = mmap.mmap(-1, PAGES, flags=flags | mmap.MAP_ANONYMOUS)
    put(memory, masked, mask, AT)
    if protection is not None:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mprotect(ctypes.c_void_p(address), PAGES, protection) == 0
    keep.append(memory)


def memfd(masked, mask):
    fd = os.memfd_create("plant", os.MFD_ALLOW_SEALING)
    write(fd, masked, mask, AT)
    return fd


def new_file(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def plant(kind, masked, mask):
    if kind == "heap":
        keep.append(unmasked(masked, mask))
    elif kind == "shared":
        mapping(mmap.MAP_SHARED, masked, mask)
    elif kind == "read-only":
        mapping(mmap.MAP_PRIVATE, masked, mask, mmap.PROT_READ)
    elif kind == "no-access":
        mapping(mmap.MAP_PRIVATE, masked, mask, 0)
    elif kind == "shared-read-only":
        mapping(mmap.MAP_SHARED, masked, mask, mmap.PROT_READ)
    elif kind == "home":
        fd = new_file(f"/home/user/a/b/{len(mask)}")
        write(fd, masked, mask, AT)
        os.close(fd)
    elif kind == "temporary":
        fd = new_file("/tmp/plant")
        write(fd, masked, mask, AT)
        os.fchmod(fd, 0)
        os.close(fd)
    elif kind == "piped":
        fd = new_file("/home/user/piped")
        write(fd, masked, mask)
        os.close(fd)
    elif kind == "unlinked":
        fd = new_file("/tmp/unlinked")
        os.unlink("/tmp/unlinked")
        write(fd, masked, mask, AT)
        os.fchmod(fd, 0)
        keep.append(fd)
    elif kind == "memfd":
        keep.append(memfd(masked, mask))
    elif kind == "sealed":
        fd = memfd(masked, mask)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        keep.append(fd)
    elif kind == "name":
        os.close(new_file(b"/home/user/" + unmasked(masked, mask)))
    elif kind == "terminal":
        write(1, masked, mask)
        write(1, b"\r\n", b"\0\0")
    else:
        raise ValueError(kind)


for line in open("plants"):
    kind, masked, mask = line.split()
    plant(kind, bytes.fromhex(masked), bytes.fromhex(mask))
if os.fork() == 0:
    # Never at rest, unless it is frozen.
    while True:
        time.sleep(0.002)
print("all planted", flush=True)
time.sleep(1000000)
