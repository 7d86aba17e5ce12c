"""Steps that several checks share."""

import contextlib
import os
import socket
import time

import dht_tool


class Skip(Exception):
    """The reason why a check cannot be run here."""


def random_hash():
    """Returns 20 bytes without NUL, at which `btdht` cuts ids."""
    return bytes(byte % 255 + 1 for byte in os.urandom(20)).hex()


def until(seconds, look, satisfied):
    """Polls until a condition holds or the time is over; returns the last value."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if satisfied(seen) or time.monotonic() >= end:
            return seen
        time.sleep(0.3)


def announce(infohash, *port, bind="127.0.0.1:0", bootstrap, program=dht_tool.DHT):
    result = dht_tool.run(
        "announce", infohash, *port, bind=bind, bootstrap=bootstrap, program=program
    )
    assert result.code == 0, f"announce exits {result.code}"
    [announced] = result.of("announced")
    assert announced["nodes"] >= 1, announced
    return result


def poll_get_peers(
    infohash, wanted, seconds=15, bind="127.0.0.1:0", bootstrap=(), program=dht_tool.DHT
):
    """Runs get-peers until it finds the wanted peers: it is unknown when the other side announces."""
    result = until(
        seconds,
        lambda: dht_tool.run(
            "get-peers", infohash, bind=bind, bootstrap=bootstrap, program=program
        ),
        lambda result: wanted <= result.peers(),
    )
    missing = sorted(wanted - result.peers())
    assert not missing, f"get-peers does not find {missing}"
    assert result.code == 0, f"get-peers exits {result.code}"
    return result


def libtorrent_finds(session, infohash, wanted):
    """Checks that a lookup finds exactly these peers."""
    found = session.get_peers(infohash, wanted)
    assert found == wanted, f"libtorrent found {found}, not {wanted}"


def need_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        raise Skip(f"no ::1 here: {error}") from None


@contextlib.contextmanager
def mainline_swarm():
    """Starts four nodes; returns the last, which knows the others.

    The first has no bootstrap host, so it adds any node that queries it by `find_node`, read-only or
    not: runs of the tool that are over would displace the others in its answers.
    """
    with contextlib.ExitStack() as nodes:

        def start(*bootstrap):
            node = dht_tool.node("127.0.0.1:0", bootstrap=bootstrap, program=dht_tool.MAINLINE)
            return nodes.enter_context(node)

        first = start()
        *_, last = (start(first.addr) for _ in range(3))
        yield last
