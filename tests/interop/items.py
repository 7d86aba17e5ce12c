"""The checks of stored items, scrapes and samples, against libtorrent and `mainline`."""

import contextlib
import os
import tempfile

import dht_tool
from steps import announce, mainline_swarm, poll_get_peers, random_hash, until

try:
    import libtorrent_peer
except ImportError:
    libtorrent_peer = None

BIND = "127.0.0.1:0"


# --- libtorrent ----------------------------------------------------------------------


def get_finds_what_libtorrent_put():
    first, *_, last = libtorrent_peer.swarm(4)
    target = last.put_immutable("a value of libtorrent's")
    assert get(target, first.addr) == b"23:a value of libtorrent's"


def libtorrent_gets_what_put_put():
    first, *_, last = libtorrent_peer.swarm(4)
    target = put(b"a value of ours", first.addr)["target"]
    assert last.get_immutable(target) == b"a value of ours"


def a_key_s_versions_go_back_and_forth_between_us_and_libtorrent():
    first, *_, last = libtorrent_peer.swarm(4)
    salt = b"a salt"
    with new_key() as key:
        assert put(b"ours", first.addr, key, salt)["seq"] == 1
        value, seq = last.get_mutable(key.public, salt, seq=1)
        assert (value, seq) == (b"ours", 1), f"libtorrent got {value} {seq}"
        assert last.put_mutable(key.secret, key.public, b"theirs", salt) == 2
        item = get_mutable(key.hex, first.addr, salt)
        assert (item["value_hex"], item["seq"]) == (b"6:theirs".hex(), 2), item
        assert put(b"ours again", first.addr, key, salt)["seq"] == 3
        value, seq = last.get_mutable(key.public, salt, seq=3)
        assert (value, seq) == (b"ours again", 3), f"libtorrent got {value} {seq}"


def libtorrent_heeds_our_cas():
    first, *_ = libtorrent_peer.swarm(4)
    our_cas_is_heeded_at(first.addr)


def a_node_stores_items_for_libtorrent():
    with dht_tool.node(BIND) as node, new_key() as key:
        putter = libtorrent_peer.joined(node.addr)
        target = putter.put_immutable("to be kept")
        putter.put_mutable(key.secret, key.public, b"to be changed", b"salt")
        getter = libtorrent_peer.joined(node.addr)
        assert getter.get_immutable(target) == b"to be kept"
        assert getter.get_mutable(key.public, b"salt")[0] == b"to be changed"
        # libtorrent puts the version after the one that it finds.
        assert putter.put_mutable(key.secret, key.public, b"changed", b"salt") == 2
        assert getter.get_mutable(key.public, b"salt", seq=2) == (b"changed", 2)


def a_pointer_stored_at_libtorrent_is_followed_to_its_peers():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    last.announce(infohash, 7031)
    with new_key() as key:
        pointer = b"d2:ih20:" + bytes.fromhex(infohash) + b"e"
        put(pointer, first.addr, key, b"n", ["--bencoded"])
        assert last.get_mutable(key.public, b"n")[0] == {b"ih": bytes.fromhex(infohash)}
        item = get_mutable(f"magnet:?xs=urn:btpk:{key.hex}&s={b'n'.hex()}", first.addr)
    assert item["infohash"] == infohash, item
    poll_get_peers(item["infohash"], {"127.0.0.1:7031"}, bootstrap=[first.addr])


def scrape_reads_the_filters_of_libtorrent():
    first, *_, last = libtorrent_peer.swarm(3)
    infohash = random_hash()
    last.announce(infohash, 7032, seed=True)
    run = lambda: dht_tool.run("scrape", infohash, bind=BIND, bootstrap=[first.addr])
    result = until(15, run, lambda result: result.code == 0)
    [estimate] = result.of("estimate")
    # All its peers share one address, and filters contain addresses.
    assert (estimate["seeds"], estimate["downloaders"]) == (1, 0), estimate


def sample_reads_what_libtorrent_stores():
    first, *_, last = libtorrent_peer.swarm(3)
    wanted = {random_hash() for _ in range(5)}
    for infohash in wanted:
        last.announce(infohash, 7033)
    run = lambda: dht_tool.run("sample", first.addr, bind=BIND)
    told = until(15, run, lambda result: wanted <= infohashes(result))
    assert infohashes(told) == wanted, told.stdout


def libtorrent_samples_what_a_node_stores():
    with dht_tool.node(BIND) as node:
        session = libtorrent_peer.joined(node.addr)
        wanted = {random_hash() for _ in range(5)}
        for infohash in wanted:
            announce(infohash, "--port", "7034", bootstrap=[node.addr])
        told, stored = session.sample(node.addr)
        assert told == wanted and stored == len(wanted), f"libtorrent was told {told} of {stored}"


LIBTORRENT = [
    get_finds_what_libtorrent_put,
    libtorrent_gets_what_put_put,
    a_key_s_versions_go_back_and_forth_between_us_and_libtorrent,
    libtorrent_heeds_our_cas,
    a_node_stores_items_for_libtorrent,
    a_pointer_stored_at_libtorrent_is_followed_to_its_peers,
    scrape_reads_the_filters_of_libtorrent,
    sample_reads_what_libtorrent_stores,
    libtorrent_samples_what_a_node_stores,
]


# --- the mainline crate --------------------------------------------------------------


def get_finds_what_mainline_put():
    with mainline_swarm() as node:
        [stored] = mainline("put", "a value of theirs", node=node).of("stored")
        assert get(stored["target"], node.addr) == b"17:a value of theirs"


def mainline_gets_what_put_put():
    with mainline_swarm() as node:
        target = put(b"a value of ours", node.addr)["target"]
        [item] = mainline("get", target, node=node).of("item")
        assert item["value"] == "a value of ours", item


def a_key_s_versions_go_back_and_forth_between_us_and_mainline():
    with mainline_swarm() as node, new_key() as key:
        for salt in (b"", b"a salt"):
            salted = ["--salt", salt.decode()] if salt else []
            put(b"ours", node.addr, key, salt, ["--seq", "3"])
            [item] = mainline("get-mutable", key.hex, *salted, node=node).of("item")
            assert (item["value"], item["seq"]) == ("ours", 3), item
            theirs = ["put-mutable", key.secret.hex(), "4", "theirs", *salted]
            mainline(*theirs, "--cas", "3", node=node)
            found = get_mutable(key.hex, node.addr, salt)
            assert (found["value_hex"], found["seq"]) == (b"6:theirs".hex(), 4), found
            assert put(b"ours again", node.addr, key, salt)["seq"] == 5
            mainline(*theirs, node=node, code=1)


def mainline_heeds_our_cas():
    with mainline_swarm() as node:
        our_cas_is_heeded_at(node.addr)


def a_node_stores_items_for_mainline():
    with dht_tool.node(BIND) as node, new_key() as key:
        [stored] = mainline("put", "to be kept", node=node).of("stored")
        [item] = mainline("get", stored["target"], node=node).of("item")
        assert item["value"] == "to be kept", item
        for salted in ([], ["--salt", "a salt"]):
            put = lambda seq, value, *cas, code=0: mainline(
                "put-mutable", key.secret.hex(), seq, value, *salted, *cas, node=node, code=code
            )
            put("1", "to be changed")
            put("2", "changed", "--cas", "1")
            put("3", "changed again", "--cas", "1", code=1)
            [item] = mainline("get-mutable", key.hex, *salted, node=node).of("item")
            assert (item["value"], item["seq"]) == ("changed", 2), item
            put("3", "changed again", "--cas", "2")


MAINLINE = [
    get_finds_what_mainline_put,
    mainline_gets_what_put_put,
    a_key_s_versions_go_back_and_forth_between_us_and_mainline,
    mainline_heeds_our_cas,
    a_node_stores_items_for_mainline,
]


# --- steps ---------------------------------------------------------------------------

class Key:
    """Returns a key made by `dht keygen`."""

    def __init__(self, file):
        result = dht_tool.run("keygen", file, options=["--json"], timeout=None)
        assert result.code == 0, f"keygen exits {result.code}"
        self.file = file
        self.hex = result.of("key")[0]["key"]
        self.public = bytes.fromhex(self.hex)
        with open(file) as secret:
            self.secret = bytes.fromhex(secret.read())


@contextlib.contextmanager
def new_key():
    with tempfile.TemporaryDirectory() as folder:
        yield Key(os.path.join(folder, "key"))


def our_cas_is_heeded_at(addr):
    with new_key() as key:
        put(b"one", addr, key, options=["--seq", "7"])
        refused = put(b"two", addr, key, options=["--seq", "9", "--cas", "5"], code=1)
        assert refused["nodes"] == 0 and refused["refused"]["cas_mismatch"] > 0, refused
        put(b"two", addr, key, options=["--seq", "9", "--cas", "7"])
        assert get_mutable(key.hex, addr)["seq"] == 9


def put(value, bootstrap, key=None, salt=b"", options=(), code=0):
    """Stores a byte string; returns the event with the result."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(value)
        file.flush()
        if key:
            words = ["put-mutable", file.name, "--key", key.file, "--salt", salt.decode()]
        else:
            words = ["put", file.name]
        result = dht_tool.run(*words, *options, bind=BIND, bootstrap=[bootstrap])
    assert result.code == code, f"{words[0]} exits {result.code}"
    [stored] = result.of("stored")
    return stored


def get(target, bootstrap):
    result = dht_tool.run("get", target, bind=BIND, bootstrap=[bootstrap])
    assert result.code == 0, f"get exits {result.code}"
    [item] = result.of("item")
    return bytes.fromhex(item["value_hex"])


def get_mutable(key, bootstrap, salt=b""):
    salted = ["--salt", salt.decode()] if salt else []
    result = dht_tool.run("get-mutable", key, *salted, bind=BIND, bootstrap=[bootstrap])
    assert result.code == 0, f"get-mutable exits {result.code}"
    return result.of("item")[-1]


def mainline(*words, node, code=0):
    result = dht_tool.run(*words, bind=BIND, bootstrap=[node.addr], program=dht_tool.MAINLINE)
    assert result.code == code, f"mainline {words[0]} exits {result.code}"
    return result


def infohashes(result):
    return {event["infohash"] for event in result.of("infohash")}
