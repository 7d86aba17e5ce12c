#!/usr/bin/env python3
"""The `dht` tool on a host where things go wrong: name servers that lie or do not answer, and state files
in odd places.

    DHT_BIN=target/release/dht tests/interop/situations.py [names, or parts of names, of checks]

Each check is a function named after the behaviour it shows; one line is printed for each. It runs as root, in
network and mount namespaces of its own, which end with it; nothing outside of them is changed.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback

INSIDE = "--in-namespaces"
HERE = pathlib.Path(__file__).resolve()
BIN = str(pathlib.Path(os.environ.get("DHT_BIN", HERE.parents[2] / "target/release/dht")).resolve())

# Addresses that look public, on the loopback device of the namespace.
FIRST, SECOND, THIRD = "45.66.77.1", "45.66.77.2", "45.66.77.3"
NOBODY = "45.66.77.99"
NAME_SERVER = "127.0.0.53"
TARGET = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"

# Longer than anything takes here, except for what hangs.
DEADLINE = 100

said = []


# --- name servers --------------------------------------------------------------------


def a_name_that_a_captive_name_server_lies_about_is_looked_up_again():
    with NameServer() as server, node(FIRST):
        # The server answers correctly after two false answers: a dead address, and a private one.
        server.names["start.example"] = [NOBODY, "10.0.0.1", FIRST]
        result = run("find-node", TARGET, "--bind", SECOND, "--bootstrap", "start.example:6881", timeout=80)
        assert result.returncode == 0, f"exits {result.returncode}"
        assert server.asked["start.example"] >= 3, server.asked
        assert "10.0.0.1" in result.stderr and "--allow-private" in result.stderr, "the private one is told"


def a_name_that_a_silent_name_server_is_asked_for_holds_up_nobody():
    with NameServer() as server, node(FIRST):
        server.names["good.example"] = [FIRST]
        for good in ("good.example", "hosts.example", FIRST):
            hosts = [f"hang-{at}.example:6881" for at in range(3)] + [f"{good}:6881"]
            words = [word for host in hosts for word in ("--bootstrap", host)]
            result = run("find-node", TARGET, "--bind", SECOND, *words, timeout=60)
            assert result.returncode == 0, f"{good}: exits {result.returncode}"


def refused_bootstrap_hosts_end_a_command_at_once():
    for host, reason in (
        ("10.0.0.1:6881", "--allow-private"),
        ("localhost:6881", "--allow-private"),
        ("[2001:4860::1]:6881", "family"),
    ):
        result = run("get-peers", TARGET, "--bind", SECOND, "--bootstrap", host, timeout=60)
        assert result.returncode == 2, f"{host}: exits {result.returncode}"
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and host in lines[0] and reason in lines[0], lines


# --- state files ---------------------------------------------------------------------


def a_state_that_is_a_mount_of_its_own_is_saved_and_never_piled_up():
    with folder() as place, swarm():
        inner = place / "inner.state"
        state = place / "dht.state"
        for path in (inner, state):
            path.write_bytes(b"")
        with mounted("--bind", inner, state):
            save_to(state)
            saved = inner.read_bytes()
            assert saved.startswith(b"d9:dht-proto"), saved[:20]
            assert names(place) == ["dht.state", "inner.state"], names(place)
            # Damaged repeatedly, with the same damage and with other damage.
            for at in (100, 100, 101, 101, 100):
                damaged = bytearray(saved)
                damaged[at] ^= 1
                state.write_bytes(bytes(damaged))
                result = run("get-peers", TARGET, "--bind", THIRD, "--state", state, timeout=2)
                assert "starting afresh" in result.stderr, result.stderr
            assert names(place) == ["dht.state", "dht.state.bad", "dht.state.bad.1", "inner.state"], names(place)
            save_to(state)
            assert inner.read_bytes().startswith(b"d9:dht-proto")


def a_state_on_a_full_disk_stays_as_it_was():
    with folder() as place, swarm(), mounted("-t", "tmpfs", "-o", "size=64k", "none", place):
        state = place / "dht.state"
        save_to(state)
        before = state.read_bytes()
        with open(place / "ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)
        result = run("get-peers", TARGET, *start(), "--state", state, timeout=20)
        assert "No space left" in result.stderr and str(state) in result.stderr, result.stderr
        assert state.read_bytes() == before
        assert names(place) == ["ballast", "dht.state"], names(place)
        (place / "ballast").unlink()
        save_to(state)


def a_state_that_cannot_be_kept_is_refused_with_one_line():
    with folder() as place:
        os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mkfifo(place / "pipe")
        (place / "text").write_text("dear diary,\n")
        os.symlink("null", place / "link")
        before = {name: os.lstat(place / name) for name in names(place)}
        for name in ("null", "pipe", "text", "link", "", "nowhere/dht.state"):
            result = run("get-peers", TARGET, "--bind", SECOND, "--state", place / name, timeout=30)
            assert result.returncode == 2, f"{name}: exits {result.returncode}"
            lines = result.stderr.strip().splitlines()
            assert len(lines) == 1 and str(place / name).rstrip("/") in lines[0], lines
        after = {name: os.lstat(place / name) for name in names(place)}
        same = lambda stats: {name: (found.st_mode, found.st_ino, found.st_size) for name, found in stats.items()}
        assert same(before) == same(after), names(place)


def a_state_is_used_by_one_process_at_a_time():
    with folder() as place, swarm():
        state = place / "dht.state"
        save_to(state)
        os.symlink("dht.state", place / "link")
        with node(THIRD, "--state", state):
            for name in ("dht.state", "link"):
                result = run("get-peers", TARGET, *start(), "--state", place / name, timeout=20)
                assert result.returncode == 2, f"exits {result.returncode}"
                assert "another process uses it" in result.stderr, result.stderr
        save_to(place / "link")
        assert (place / "link").is_symlink(), "it is followed"
        assert names(place) == ["dht.state", "link"], names(place)


def a_lookup_between_two_announces_loses_none_of_them():
    with folder() as place, swarm():
        state = place / "dht.state"
        words = ["--bind", THIRD, "--bootstrap", f"{FIRST}:6881", "--state", state]
        run("announce", TARGET, "--port", "4242", "--keep", *words, timeout=5)
        record = bytes.fromhex(TARGET) + (4242).to_bytes(2, "big")
        assert record in state.read_bytes(), "it is saved"
        save_to(state)
        assert record in state.read_bytes(), "it is still saved"


# --- parts ---------------------------------------------------------------------------


class NameServer:
    """Answers queries for the addresses of known names: the next one of a list each time, and the last
    for ever. Queries for unknown names are not answered."""

    def __init__(self):
        self.names, self.asked = {}, {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((NAME_SERVER, 53))
        self.socket.settimeout(0.1)
        self.is_over = False
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        self.socket.close()

    def _serve(self):
        while not self.is_over:
            with contextlib.suppress(TimeoutError):
                query, sender = self.socket.recvfrom(2000)
                if answer := self._answer(query):
                    self.socket.sendto(answer, sender)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question, kind = query[12 : at + 5], int.from_bytes(query[at + 1 : at + 3], "big")
        name = ".".join(labels)
        addresses = self.names.get(name)
        if not addresses:
            return None
        count, body = 0, b""
        # There is no IPv6 address.
        if kind == 1:
            self.asked[name] = self.asked.get(name, 0) + 1
            address = addresses[min(self.asked[name], len(addresses)) - 1]
            count, body = 1, b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)
        return query[:2] + b"\x81\x80\0\1" + count.to_bytes(2, "big") + b"\0\0\0\0" + question + body


@contextlib.contextmanager
def node(address, *words):
    """A `dht node` through which other commands join."""
    line = [BIN, "node", "--json", "-v", "--no-default-bootstrap", "--bind", f"{address}:6881"]
    process = subprocess.Popen(
        [*line, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert b"listening" in process.stdout.readline(), f"no node at {address}"
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def swarm():
    """Two nodes that know each other: a bootstrap host alone is not saved in a state."""
    with node(FIRST), node(SECOND, "--bootstrap", f"{FIRST}:6881"):
        yield


def start():
    return ["--bind", THIRD, "--bootstrap", f"{FIRST}:6881", "--settle", "1"]


def save_to(state):
    """Runs a command that saves its state. The nodes of a new swarm may not know each other yet."""
    for _ in range(10):
        result = run("find-node", TARGET, *start(), "--state", state, "-vv", timeout=20)
        assert result.returncode == 0, f"exits {result.returncode}"
        if "saved the state" in result.stderr:
            return
        time.sleep(0.5)
    raise AssertionError("no state was saved")


def run(command, *words, timeout):
    line = [BIN, command, *map(str, words), "--no-default-bootstrap", "--timeout", str(timeout)]
    try:
        result = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE
        )
    except subprocess.TimeoutExpired as late:
        said.append(f"$ {' '.join(line)}\n{late.stdout}\n{late.stderr}")
        raise AssertionError(f"`{command}` had not ended after {DEADLINE} s") from None
    said.append(f"$ {' '.join(line)}\n{result.stdout}{result.stderr}= {result.returncode}")
    return result


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="dht-situations-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def mounted(*words):
    do("mount", *words)
    try:
        yield
    finally:
        do("umount", words[-1])


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def do(*words):
    subprocess.run([str(word) for word in words], check=True, timeout=20)


CHECKS = [
    a_name_that_a_captive_name_server_lies_about_is_looked_up_again,
    a_name_that_a_silent_name_server_is_asked_for_holds_up_nobody,
    refused_bootstrap_hosts_end_a_command_at_once,
    a_state_that_is_a_mount_of_its_own_is_saved_and_never_piled_up,
    a_state_on_a_full_disk_stays_as_it_was,
    a_state_that_cannot_be_kept_is_refused_with_one_line,
    a_state_is_used_by_one_process_at_a_time,
    a_lookup_between_two_announces_loses_none_of_them,
]


def set_up(place):
    """The network of the namespace, and its configuration of name servers."""
    do("ip", "link", "set", "lo", "up")
    for address in (FIRST, SECOND, THIRD):
        do("ip", "address", "add", f"{address}/32", "dev", "lo")
    # Datagrams to other addresses are lost without an error.
    do("ip", "route", "add", "default", "dev", "lo")
    # A look-up that gets no answer hangs for longer than any command here.
    files = {
        "resolv.conf": f"nameserver {NAME_SERVER}\noptions timeout:30 attempts:5\n",
        "hosts": f"127.0.0.1 localhost\n{FIRST} hosts.example\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    for name, text in files.items():
        (place / name).write_text(text)
        target = pathlib.Path("/etc", name)
        # Without the last option the C library uses files and servers anyway.
        if not target.exists() and name == "nsswitch.conf":
            continue
        do("mount", "--bind", place / name, target.resolve())


def main(wanted):
    if INSIDE not in wanted:
        prefix = ["unshare", "--net", "--mount", "--propagation", "private"]
        if not shutil.which("ip") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            print("skipped all: no namespaces can be made here")
            return 0
        return subprocess.run([*prefix, sys.executable, "-u", "-B", str(HERE), INSIDE, *wanted]).returncode
    wanted = [word for word in wanted if word != INSIDE]
    counts = {"ok": 0, "FAIL": 0}
    with folder() as place:
        set_up(place)
        for check in CHECKS:
            if wanted and not any(word in check.__name__ for word in wanted):
                continue
            said.clear()
            began, verdict, note = time.monotonic(), "ok", ""
            try:
                check()
            except Exception:
                verdict, note = "FAIL", "\n" + traceback.format_exc() + "\n".join(said)
            counts[verdict] += 1
            print(f"{verdict} {check.__name__} ({time.monotonic() - began:.0f} s){note}", flush=True)
    print(f"{counts['ok']} passed, {counts['FAIL']} failed")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
