"""Steps that several checks take."""

import contextlib
import os
import socket
import time

import dht_tool


class Skip(Exception):
    """Why a check cannot be run here."""


def random_hash():
    """20 bytes, none of which is NUL: `btdht` cuts ids there."""
    return bytes(byte % 255 + 1 for byte in os.urandom(20)).hex()


def until(seconds, look, satisfied):
    """Looks again and again, for at most so long; what was seen last."""
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
    """Runs get-peers until it finds the wanted peers: the other side announces when it likes."""
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
    """It must find just these peers."""
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
    """Four nodes; the last, which knows the others.

    The first has nobody to start from, so it takes whoever asks it by `find_node`, read-only or
    not: runs of the tool that are over would crowd the others out of its answers.
    """
    with contextlib.ExitStack() as nodes:

        def start(*bootstrap):
            node = dht_tool.node("127.0.0.1:0", bootstrap=bootstrap, program=dht_tool.MAINLINE)
            return nodes.enter_context(node)

        first = start()
        *_, last = (start(first.addr) for _ in range(3))
        yield last
