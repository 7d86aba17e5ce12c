"""Captures datagrams of libtorrent and Transmission, as data for tests.

    unshare --net PYTHON capture.py DIRECTORY

PYTHON needs the `libtorrent` package. Both programs run in the namespace against
libtorrent sessions, everything on the loopback device is read, and of each kind of
message the longest is kept, as DIRECTORY/<program>/<kind>.bin, with a list in README.md.
"""

import os
import socket
import subprocess
import sys
import threading
import time

import krpc
import libtorrent_peer
import transmission_peer

LIBTORRENT_HOSTS = [f"10.{number}.0.1" for number in range(1, 13)]
TRANSMISSION_HOST = "10.200.0.1"
HARNESS = "10.101.0.1"


class Sniffer:
    """Reads the loopback device and keeps the messages of the watched senders."""

    def __init__(self, senders):
        self.senders = senders
        self.kept = {}
        self.asked = {}
        ETH_P_ALL = 3
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("lo", 0))
        self.running = True
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        self.socket.settimeout(0.2)
        while self.running:
            try:
                packet, (_, _, direction, *_) = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            if direction != socket.PACKET_OUTGOING:
                self._take(packet)

    def _take(self, packet):
        UDP = 17
        if packet[0] >> 4 == 4 and packet[9] == UDP:
            header = (packet[0] & 15) * 4
            source, to = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
        elif packet[0] >> 4 == 6 and packet[6] == UDP:
            header = 40
            source, to = (
                socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)
            )
        else:
            return
        udp = packet[header:]
        source_port, to_port, length = (int.from_bytes(udp[at : at + 2], "big") for at in (0, 2, 4))
        payload = udp[8:length]
        try:
            message = krpc.bdecode(payload)
            if not isinstance(message, dict) or b"y" not in message:
                return
        except (ValueError, IndexError, TypeError):
            return
        if message[b"y"] == b"q":
            self.asked[source, source_port, message[b"t"]] = message[b"q"].decode()
            asked = None
        else:
            asked = self.asked.get((to, to_port, message[b"t"]))
            if not asked:
                return
        sender = self.senders.get(source)
        if sender:
            key = sender, kind_of(message, asked, ":" in source)
            if len(payload) > len(self.kept.get(key, b"")):
                self.kept[key] = payload

    def stop(self):
        self.running = False
        self.thread.join()
        self.socket.close()


def kind_of(message, asked, over_ipv6):
    if message[b"y"] == b"e":
        return f"error_{message[b'e'][0]}_to_{asked}"
    if message[b"y"] == b"q":
        kind = "query_" + message[b"q"].decode()
        arguments = message[b"a"]
        if arguments.get(b"bs"):
            kind += "_bootstrap"
        if arguments.get(b"implied_port"):
            kind += "_implied_port"
        if b"want" in arguments:
            kind += "_want"
    else:
        kind = f"reply_{asked}"
        reply = message[b"r"]
        if reply.get(b"values"):
            kind += "_values"
        if reply.get(b"nodes"):
            kind += "_nodes"
        if reply.get(b"nodes6"):
            kind += "_nodes6"
    if message.get(b"ro"):
        kind += "_read_only"
    return kind + ("_over_ipv6" if over_ipv6 else "")


def ask_for_replies_and_errors(addr):
    """Sends a node every query that it can answer, and a few that it must refuse."""
    target = os.urandom(20)
    for method, arguments in [
        ("ping", {}),
        ("find_node", {"target": target}),
        ("find_node", {"target": target, "want": ["n4", "n6"]}),
        ("get_peers", {"info_hash": target}),
        ("get_peers", {"info_hash": target, "want": ["n4", "n6"]}),
        ("get_peers", {}),
        ("get_peers", {"info_hash": b"short"}),
        ("announce_peer", {"info_hash": target, "port": 1234, "token": "wrong"}),
        ("announce_peer", {"info_hash": target, "port": 0, "token": "wrong"}),
        ("announce_peer", {"info_hash": target, "port": 1234}),
        ("no_such_method", {}),
    ]:
        krpc.query(addr, method, arguments, bind=HARNESS, tries=1)


def capture_libtorrent():
    hosts = LIBTORRENT_HOSTS[:3]
    sniffer = Sniffer({**{host: "libtorrent" for host in LIBTORRENT_HOSTS}, "::1": "libtorrent"})
    swarm = [libtorrent_peer.Session(host, "::1") for host in hosts]
    introduce(swarm)
    late = libtorrent_peer.Session("10.9.0.1", "::1", bootstrap=swarm[0].addrs)
    late.wait_until_bootstrapped()
    infohash = os.urandom(20).hex()
    for number, session in enumerate(swarm):
        for port in range(7000, 7003):
            session.announce(infohash, port + 10 * number)
    swarm[0].announce(infohash, 0, implied=True)
    time.sleep(2)
    late.get_peers(infohash, {"10.1.0.1:7000"})
    time.sleep(1)
    for session in swarm[:2]:
        ask_for_replies_and_errors(session.addr)
    time.sleep(20)
    sniffer.stop()
    libtorrent_peer.stop_all()
    return sniffer.kept


def capture_transmission():
    sniffer = Sniffer({TRANSMISSION_HOST: "transmission"})
    swarm = [libtorrent_peer.Session(host) for host in LIBTORRENT_HOSTS]
    introduce(swarm)
    infohash = os.urandom(20).hex()
    swarm[1].announce(infohash, 7000)
    time.sleep(2)
    transmission = transmission_peer.Transmission(
        TRANSMISSION_HOST, [swarm[0].addr], os.urandom(20).hex()
    )
    try:
        transmission.add_magnet(infohash)
        end = time.monotonic() + 150
        while ("transmission", "query_announce_peer") not in sniffer.kept:
            if time.monotonic() > end:
                print("Transmission did not announce in time")
                break
            time.sleep(0.5)
        # Peers that it stores itself: the closest node to an infohash is the one with that id.
        own = transmission.node_id[:-2] + "%02x" % (int(transmission.node_id[-2:], 16) ^ 1)
        for port in range(7100, 7103):
            swarm[2].announce(own, port)
        time.sleep(3)
        swarm[3].get_peers(own, {"10.3.0.1:7100"})
        krpc.peers_stored_at(transmission.addr, own, bind=HARNESS)
        ask_for_replies_and_errors(transmission.addr)
        time.sleep(20)
    finally:
        transmission.stop()
        sniffer.stop()
        libtorrent_peer.stop_all()
    return sniffer.kept


def introduce(swarm):
    for session in swarm:
        for other in swarm:
            if other is not session:
                for addr in other.addrs:
                    session.session.add_dht_node(krpc.split_addr(addr))
    time.sleep(1)


def main(directory):
    transmission_peer.set_up_namespace()
    # With a public IPv6 address Transmission runs its IPv6 node too, and sends `want`.
    # It looks for the source address of packets to a public host; and once
    # a device has an address of one family, libevent does not assume the other.
    for arguments in (
        ["-6", "addr", "add", "2001:db8::200/128"],
        ["-6", "route", "add", "default"],
        ["-4", "addr", "add", f"{TRANSMISSION_HOST}/32"],
    ):
        subprocess.run(["ip", *arguments, "dev", "lo"], check=True, timeout=10)
    versions = {
        "libtorrent": f"libtorrent {libtorrent_peer.VERSION}",
        "transmission": transmission_peer.version(),
    }
    kept = {**capture_libtorrent(), **capture_transmission()}
    rows = []
    for (sender, kind), payload in sorted(kept.items()):
        os.makedirs(os.path.join(directory, sender), exist_ok=True)
        name = f"{sender}/{kind}.bin"
        with open(os.path.join(directory, name), "wb") as file:
            file.write(payload)
        rows.append(f"| {name} | {versions[sender]} | {kind.replace('_', ' ')} | {len(payload)} |")
    path = os.path.join(directory, "README.md")
    if os.path.exists(path):
        # Keeps the rows of other programs.
        with open(path) as file:
            rows += [line.rstrip() for line in file if line.startswith("| mainline/")]
    with open(path, "w") as file:
        file.write(
            "# Captured datagrams\n\n"
            "The payloads of UDP datagrams that other programs sent. `tests/interop/capture.py`\n"
            "recorded those of libtorrent and Transmission; those of mainline were recorded\n"
            "in the same way from its `Testnet`. All addresses are private, all hashes random.\n"
            "The kind of a reply or an error includes the query that it answers.\n\n"
            "| file | sender | kind | bytes |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )


if __name__ == "__main__":
    main(sys.argv[1])
