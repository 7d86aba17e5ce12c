#!/usr/bin/env python3
"""The `dht` tool in situations that no unit test can make: without a network, with a name server that
never answers, in a terminal that is closed, stopped for a while.

    DHT_BIN=target/release/dht python3 tests/interop/tool_situations.py [PART OF A NAME]

Everything happens in namespaces of its own; nothing leaves the machine.
"""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import time

import krpc

BIN = os.path.abspath(os.environ.get("DHT_BIN", "target/release/dht"))
INSIDE = "DHT_SITUATIONS_INSIDE"
HASH = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"
NODE = "127.0.0.1:7600"

# Longer than the --timeout of any command.
PATIENCE = 30


def without_a_network_a_lookup_ends_with_2_and_says_why():
    for words in (
        ["get-peers", HASH],
        ["announce", HASH, "--port", "1"],
        ["announce", HASH, "--port", "1", "--keep"],
        ["scrape", HASH],
        ["crawl"],
    ):
        code, _, stderr = run(*words, "--timeout", "3")
        assert code == 2, f"{words} exits {code}: {stderr}"
        assert "could not join the DHT within 3 s: no bootstrap host answered" in stderr, stderr
        assert "cannot resolve" in stderr, stderr
        # Without a name to resolve, the system reports the reason.
        code, _, stderr = run(
            *words, "--timeout", "3", "--no-default-bootstrap", "--bootstrap", "192.0.32.1:1"
        )
        assert code == 2 and "the last local error: Network is unreachable" in stderr, stderr


def without_a_network_a_ping_ends_at_once_and_says_why():
    code, stdout, stderr = run("ping", "1.2.3.4:6881")
    assert (code, stdout) == (2, ""), (code, stdout)
    assert "cannot send to 1.2.3.4:6881: Network is unreachable" in stderr, stderr


def a_lookup_goes_on_once_the_network_is_there():
    lookup = start(
        "find-node", HASH, "--bind", "0.0.0.0:0", "--bootstrap", NODE, *LOCAL, "--timeout", "25"
    )
    for line in lookup.stderr:
        if "waiting for the network" in line:
            break
    with network(), node():
        stdout, stderr = lookup.communicate(timeout=PATIENCE)
        assert lookup.returncode == 0 and NODE in stdout, (lookup.returncode, stdout, stderr)


def a_kept_announce_goes_on_once_the_network_is_there():
    announce = start(
        "announce", HASH, "--port", "1", "--keep", "--bind", "0.0.0.0:0", "--bootstrap", NODE, *LOCAL
    )
    for line in announce.stderr:
        if "waiting for the network" in line:
            break
    with network(), node():
        line = announce.stdout.readline()
        assert line == "announced to 1 of 1 node\n", line
        announce.send_signal(signal.SIGTERM)
        assert announce.wait(PATIENCE) == 0


def a_name_server_that_never_answers_does_not_outlast_the_deadline():
    with network(), name_server():
        for command in ("ping", "sample"):
            code, _, stderr = run(command, "name.example:6881", "--timeout", "1")
            assert code == 2, f"{command} exits {code}: {stderr}"
            assert "no answer from the name servers within 1 s" in stderr, stderr
        code, _, stderr = run("get-peers", HASH, "--timeout", "2")
        assert code == 2 and "has not resolved yet" in stderr, stderr


def a_node_whose_terminal_is_closed_saves_its_state():
    # A state is saved only if it contains a node, and a bootstrap host does not count as one.
    with network(), node() as first, node("127.0.0.1:7601", first), tempfile.TemporaryDirectory() as folder:
        state = os.path.join(folder, "dht.state")
        child, terminal = pty.fork()
        if child == 0:
            os.execv(BIN, [BIN, "node", "-vv", "--bind", "127.0.0.1:7602", "--state", state,
                           "--bootstrap", first, *LOCAL])  # fmt: skip
        said = b""
        while b"127.0.0.1:7601" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert os.path.getsize(state) > 0


def a_node_at_a_link_local_address_answers():
    with network():
        subprocess.run(["ip", "address", "add", "fe80::1/64", "dev", "lo", "nodad"], check=True)
        with node("[fe80::1%lo]:7600"), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.bind(("fe80::1", 0, 0, socket.if_nametoindex("lo")))
            query = {"t": b"ab", "y": "q", "q": "ping", "a": {"id": os.urandom(20)}}
            sock.sendto(krpc.bencode(query), ("fe80::1", 7600, 0, socket.if_nametoindex("lo")))
            assert b"1:t2:ab1:v4:" in sock.recv(2048)


def a_process_that_was_stopped_takes_the_answers_that_came_meanwhile():
    with network(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(krpc.split_addr(NODE))
        lookup = start("get-peers", HASH, "--bind", "127.0.0.1:0", "--bootstrap", NODE, *LOCAL, "--json")
        own, peer, was_stopped = os.urandom(20), socket.inet_aton("9.9.9.9") + b"\1\2", False
        while not was_stopped:
            packet, sender = sock.recvfrom(2048)
            query = krpc.bdecode(packet)
            if query[b"y"] != b"q":
                continue
            reply = {"id": own, "nodes": b""}
            if was_stopped := query[b"q"] == b"get_peers":
                lookup.send_signal(signal.SIGSTOP)
                reply |= {"values": [peer], "token": b"t"}
            sock.sendto(krpc.bencode({"t": query[b"t"], "y": "r", "r": reply}), sender)
        # Every query times out after 5 s.
        time.sleep(7)
        lookup.send_signal(signal.SIGCONT)
        stdout, stderr = lookup.communicate(timeout=PATIENCE)
        assert lookup.returncode == 0 and "9.9.9.9:258" in stdout, (lookup.returncode, stdout, stderr)


SITUATIONS = [
    without_a_network_a_lookup_ends_with_2_and_says_why,
    without_a_network_a_ping_ends_at_once_and_says_why,
    a_lookup_goes_on_once_the_network_is_there,
    a_kept_announce_goes_on_once_the_network_is_there,
    a_name_server_that_never_answers_does_not_outlast_the_deadline,
    a_node_whose_terminal_is_closed_saves_its_state,
    a_node_at_a_link_local_address_answers,
    a_process_that_was_stopped_takes_the_answers_that_came_meanwhile,
]


# --- steps ---------------------------------------------------------------------------

LOCAL = ["--no-default-bootstrap", "--allow-private"]


def start(*words):
    return subprocess.Popen(
        [BIN, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words):
    """Runs one command to its end, within a time limit."""
    done = subprocess.run([BIN, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def node(addr=NODE, *bootstrap):
    words = [word for host in bootstrap for word in ("--bootstrap", host)]
    process = start("node", "--bind", addr, *words, *LOCAL)
    try:
        assert process.stdout.readline().startswith("listening on "), process.communicate()
        yield addr
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def network():
    """There is no network but loopback."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)


@contextlib.contextmanager
def name_server():
    """A name server that receives queries and answers none."""
    with tempfile.NamedTemporaryFile("w") as conf, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 53))
        conf.write("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
        conf.flush()
        subprocess.run(["mount", "--bind", conf.name, "/etc/resolv.conf"], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "/etc/resolv.conf"], check=True)


def enter_namespaces():
    """Runs this program again in namespaces of its own; returns whether that is possible here."""
    for prefix in (["unshare", "--net", "--mount"],
                   ["unshare", "--user", "--map-root-user", "--net", "--mount"]):  # fmt: skip
        try:
            possible = subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
        except FileNotFoundError:
            return
        if possible:
            os.environ[INSIDE] = "1"
            os.execvp(prefix[0], [*prefix, sys.executable, "-B", *sys.argv])


def main():
    if INSIDE not in os.environ:
        enter_namespaces()
        print("0 passed, 0 failed, skipped: no namespaces here")
        return 0
    failed = 0
    wanted = [it for it in SITUATIONS if all(part in it.__name__ for part in sys.argv[1:])]
    for situation in wanted:
        try:
            situation()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL {situation.__name__}: {error}", flush=True)
        else:
            print(f"ok   {situation.__name__}", flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
