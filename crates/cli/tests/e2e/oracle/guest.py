"""Process 1 of the guest: a session is opened, full of plants, and ended. Says how far it is on the
console, and waits there for a line before it goes on."""

import base64
import ctypes
import json
import os
import subprocess
import time

MS_BIND, MS_MOVE = 4096, 8192
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags=0):
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), target)


def sessile(*arguments):
    done = subprocess.run(("/usr/bin/sessile", *arguments), cwd="/project", capture_output=True, text=True)
    if done.returncode != 0:
        say("failed", *arguments, done.stdout, done.stderr)
    return done.stdout


def say(*words):
    print("GUEST", *words, flush=True)


# The very first root cannot be exchanged for another, which every sandbox does.
mount("/", "/again", "none", MS_BIND)
os.chdir("/again")
mount(".", "/", "none", MS_MOVE)
os.chroot(".")
os.chdir("/")
mount("proc", "/proc", "proc")
mount("sys", "/sys", "sysfs")
mount("dev", "/dev", "devtmpfs")
mount("pts", "/dev/pts", "devpts")
mount("shm", "/dev/shm", "tmpfs")
mount("tmp", "/tmp", "tmpfs")
mount("run", "/run", "tmpfs")
mount("lib", "/var/lib", "tmpfs")
mount("cgroup", "/sys/fs/cgroup", "cgroup2")
os.environ.update(HOME="/root", PATH="/usr/bin", TERM="xterm", SHELL="/usr/bin/python3")
if "SESSILE_DEBUG" in os.environ:
    # Kernel parameters become this process's environment; a daemon that a command starts would
    # not inherit it.
    subprocess.Popen(("/usr/bin/sessile", "daemon", "run"))
    while not os.path.exists("/run/sessile/daemon.sock"):
        time.sleep(0.1)
sessile("run", "--detach", "--name", "planted", "--project", "/project:ro", "--", "python3", "-I", "-S", "plant.py")
sessile("wait", "planted", "--pattern", "all planted", "--timeout", "300s")
session = json.loads(sessile("show", "planted", "--json"))["id"]
say("planted")
input()
sessile("end", "planted", "--grace", "0s")
say("ended")
# Every further program may take the memory that is looked at, so that they come later.
input()
receipt = json.loads(base64.b64decode(json.loads(sessile("receipt", session, "--json"))["payload"]))
say("claims", receipt["claim_level"])
for line in receipt["residue"]:
    say("residue", line["what"])
say("said")
input()
