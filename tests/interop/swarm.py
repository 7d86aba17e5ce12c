"""The checks of a swarm of many implementations, in a network namespace of its own.

Nodes of this crate, and one client of each kind among them; see `clients`. Each finds what ours
announces, and ours finds what each announces. Then a node that reports its table puts, gets,
crawls and announces, and its table must still contain all live nodes.
"""

import itertools
import time

import dht_tool
import krpc
from clients.aria2 import Aria2
from clients.bittorrent_dht import BittorrentDht
from clients.btdht import Btdht
from clients.client import next_port
from clients.crates import Librqbit, Mainline, Ours
from clients.deluge import Deluge
from clients.libtorrent import Libtorrent
from clients.qbittorrent import Qbittorrent
from clients.rtorrent import Rtorrent
from clients.transmission import Transmission
from steps import Skip, random_hash, until

CLIENTS = [
    Libtorrent,
    Aria2,
    Librqbit,
    Mainline,
    BittorrentDht,
    Transmission,
    Rtorrent,
    Qbittorrent,
    Deluge,
    Btdht,
]
OUR_NODES = 4
PUTS = 3
# No address has a NUL byte, at which `btdht` would cut it.
HARNESS = "10.101.1.1"

# The longest wait in a quick run.
PATIENT = 60
# Nodes are removed some time after they did not answer a query: the table is watched that long.
WATCHED = 15
LATER = 60


class Stage:
    """Our nodes, the clients by name, and the torrent that each takes part in."""

    def __init__(self):
        self.nodes, self.us = [], None
        self.clients, self.torrents = {}, {}

    def start(self):
        for number in range(1, OUR_NODES + 1):
            first = [self.nodes[0].addr] if self.nodes else []
            addr, identity = f"10.{number}.1.1:6881", ["--id", random_hash()]
            self.nodes.append(dht_tool.node(addr, bootstrap=first, options=identity))
        self.bootstrap = [node.addr for node in self.nodes]
        # It bootstraps from the first, as no other node does: see its check.
        self.us = Ours(self.bootstrap[:1])

    def client(self, name):
        assert name in self.clients, f"{name} did not join"
        return self.clients[name]

    def torrent(self, name):
        assert name in self.torrents, f"{name} takes part in no torrent"
        return self.torrents[name]

    def missing(self, held):
        """Returns the nodes that answer a ping but are not among these addresses."""
        live = {node.addr: "a node of ours" for node in self.nodes}
        live.update((client.addr, name) for name, client in self.clients.items())
        return {
            name if name in self.clients else f"{name} at {addr}"
            for addr, name in live.items()
            if addr not in held and krpc.query(addr, "ping", bind=HARNESS)
        }

    def log_tail(self):
        """Returns the last output of all nodes, for a check that failed."""
        parts = [self.us] if self.us else []
        for client in [*parts, *self.clients.values()]:
            yield f"{client.NAME} at {client.addr}"
            yield from ("  " + line for line in client.log_tail())

    def stop(self):
        parts = [*self.clients.values(), self.us, *self.nodes]
        for part in filter(None, parts):
            part.stop()


stage = Stage()


def checks(quick):
    """Returns the quick and dependable clients, or all."""
    kinds = [kind for kind in CLIENTS if kind.QUICK or not quick]
    there = [kind for kind in kinds if not kind.lacking()]
    return [
        a_swarm_of_our_nodes_starts,
        *[joins(kind) for kind in kinds],
        each_takes_part_in_a_torrent_that_ours_announced,
        *[check for kind in there for check in checks_of(kind, quick)],
        *AMID_ALL,
        *([] if quick else [a_minute_later_the_table_holds_all_of_them]),
    ]


def versions(quick):
    kinds = [kind for kind in CLIENTS if (kind.QUICK or not quick) and not kind.lacking()]
    return ", ".join(kind.version() for kind in kinds)


# --- the swarm forms -----------------------------------------------------------------


def a_swarm_of_our_nodes_starts():
    stage.start()


def joins(kind):
    def check():
        if kind.lacking():
            raise Skip(kind.lacking())
        stage.clients[kind.NAME] = client = kind(stage.bootstrap)
        client.wait_until_up(HARNESS)

    return named(f"{word(kind)}_joins_the_swarm", check)


def each_takes_part_in_a_torrent_that_ours_announced():
    # All at once, because some take half a minute to announce and to look up.
    failed = []
    for name, client in stage.clients.items():
        try:
            torrent = client.new_torrent(stage.nodes[-1].id)
            answer = stage.us.ask("announced", "announce", torrent.infohash, torrent.port)
            assert answer["nodes"], f"no node took the announce: {answer}"
            client.take_part(torrent)
            stage.torrents[name] = torrent
        except (AssertionError, OSError) as error:
            failed.append(f"{name}: {error}")
    assert not failed, failed


# --- each client ---------------------------------------------------------------------


def checks_of(kind, quick):
    name = kind.NAME

    def ping_reaches():
        client = stage.client(name)
        result = dht_tool.run("ping", client.addr, bind=new_bind())
        assert result.code == 0, f"exits {result.code}"
        [pong] = result.of("pong")
        assert pong["id"] == client.id, f"{pong}, not {client.id}"

    def find_node_finds():
        client = stage.client(name)
        find = lambda: dht_tool.run(
            "find-node", client.id, "--read-only", bind=new_bind(), bootstrap=stage.bootstrap[-1:]
        )
        result = until(30, find, lambda result: client.addr in addresses(result))
        assert client.addr in addresses(result), f"not in {result.stdout}"

    def finds():
        client, torrent = stage.client(name), stage.torrent(name)
        found = until(kind.PATIENCE, lambda: client.found(torrent), bool)
        assert found, f"{name} does not find {stage.us.HOST}:{torrent.port} after {kind.PATIENCE} s"

    def is_found():
        client, torrent = stage.client(name), stage.torrent(name)
        get_peers_finds(torrent.infohash, client.announced(torrent), kind.PATIENCE)

    def is_stored():
        torrent, wanted = stage.torrent(name), stage.client(name).announced(stage.torrent(name))
        node = stage.nodes[-1].addr
        stored = until(
            kind.PATIENCE,
            lambda: krpc.peers_stored_at(node, torrent.infohash, bind=HARNESS),
            lambda stored: wanted in stored,
        )
        assert wanted in stored, f"our node next to {torrent.infohash} stores {stored}"

    def stores():
        client = stage.client(name)
        # An infohash next to its id makes it the closest node.
        infohash = client.id[:-2] + random_hash()[-2:]
        port = next_port()
        answer = stage.us.ask("announced", "announce", infohash, port)
        assert client.addr in answer["nodes"], f"only these took it: {answer['nodes']}"
        wanted = f"{stage.us.HOST}:{port}"
        ask = lambda: krpc.peers_stored_at(client.addr, infohash, bind=HARNESS)
        stored = until(10, ask, lambda stored: wanted in stored)
        assert wanted in stored, f"{name} stores {stored}"

    checks = [
        named(f"ping_reaches_{word(kind)}_in_the_swarm", ping_reaches),
        named(f"find_node_finds_{word(kind)}_by_its_id", find_node_finds),
        named(f"{word(kind)}_stores_what_ours_announced", stores),
    ]
    if quick and kind.PATIENCE > PATIENT:
        return checks
    return [
        *checks,
        named(f"{word(kind)}_finds_what_ours_announced", finds),
        named(f"get_peers_finds_what_{word(kind)}_announced", is_found),
        named(f"our_node_stores_what_{word(kind)}_announced", is_stored),
    ]


def get_peers_finds(infohash, wanted, seconds):
    run = lambda: dht_tool.run(
        "get-peers", infohash, "--read-only", bind=new_bind(), bootstrap=stage.bootstrap[-1:]
    )
    peers = until(seconds, run, lambda result: wanted in result.peers()).peers()
    assert wanted in peers, f"get-peers finds {peers}, not {wanted}, after {seconds} s"


def new_bind():
    """Returns an unused address: libtorrent blocks addresses that send it 50 queries in 10 s."""
    return f"10.100.{next(numbers)}.1:0"


numbers = itertools.cycle(range(1, 255))


def named(name, check):
    check.__name__ = name
    return check


def word(kind):
    return kind.NAME.replace("-", "_")


def addresses(result):
    return {event["addr"] for event in result.of("node")}


# --- a node of this crate among them -------------------------------------------------


def the_table_comes_to_hold_all_who_are_there():
    for client in stage.clients.values():
        stage.us.ask("added", "add-node", client.addr)
    missing = until(60, lambda: missing_clients(), lambda missing: not missing)
    assert not missing, f"the table lacks {missing}"


def a_node_that_was_given_to_start_from_is_in_the_table():
    given = stage.bootstrap[0]
    table = until(30, lambda: stage.us.table().values(), lambda table: given in table)
    assert given in table, f"{given} is not in {sorted(table)}"


def what_is_put_amid_all_is_stored_and_found():
    # Near different nodes, so that all nodes that do not know the query are queried.
    for number in range(PUTS):
        value = f"amid-all-{number}"
        answer = stage.us.ask("stored", "put", value)
        assert len(answer["nodes"]) >= 4, answer
        item = stage.us.ask("item", "get", answer["target"])
        assert item["value"] == value, item
        result = dht_tool.run(
            "get", answer["target"], "--read-only", bind=new_bind(), bootstrap=stage.bootstrap[-1:]
        )
        assert result.code == 0, f"exits {result.code}"
        [item] = result.of("item")
        assert bytes.fromhex(item["value_hex"]) == krpc.bencode(value), item


def a_crawl_tells_what_is_announced():
    crawled = stage.us.ask("crawled", "crawl", seconds=120)
    told = set(crawled["infohashes"])
    # Stored at our own nodes too, which are so few that all of them are queried.
    wanted = {torrent.infohash for torrent in stage.torrents.values()}
    assert wanted <= told, f"{wanted - told} are not among {told}"


def an_announce_amid_all_is_found():
    infohash = random_hash()
    port = next_port()
    answer = stage.us.ask("announced", "announce", infohash, port)
    assert len(answer["nodes"]) >= 6, answer
    get_peers_finds(infohash, f"{stage.us.HOST}:{port}", 15)


def after_a_put_a_get_a_crawl_and_an_announce_the_table_holds_all_of_them():
    end = time.monotonic() + WATCHED
    while time.monotonic() < end:
        missing = missing_clients()
        assert not missing, f"the table lacks {missing}"
        time.sleep(0.5)


def a_minute_later_the_table_holds_all_of_them():
    time.sleep(LATER)
    missing = missing_clients()
    assert not missing, f"the table lacks {missing}"


def missing_clients():
    """Returns the nodes that answer but are not in our table; the bootstrap host has its own check."""
    return stage.missing([*stage.us.table().values(), stage.bootstrap[0]])


AMID_ALL = [
    the_table_comes_to_hold_all_who_are_there,
    a_node_that_was_given_to_start_from_is_in_the_table,
    what_is_put_amid_all_is_stored_and_found,
    a_crawl_tells_what_is_announced,
    an_announce_amid_all_is_found,
    after_a_put_a_get_a_crawl_and_an_announce_the_table_holds_all_of_them,
]
