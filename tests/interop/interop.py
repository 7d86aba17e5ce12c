"""The checks: the `dht` tool and the tokio adapter against libtorrent, Transmission and `mainline`,
and in a swarm of many (`swarm.py`).

Each check is a function named after the behaviour it shows. One line is printed for
each, the output of both sides if it fails, and the counts at the end.
"""

import re
import signal
import socket
import subprocess
import sys
import time
import traceback

import dht_tool
import items
import krpc
import swarm
import transmission_peer
from steps import (
    Skip,
    announce,
    libtorrent_finds,
    mainline_swarm,
    need_ipv6,
    poll_get_peers,
    random_hash,
    until,
)

try:
    import libtorrent_peer
except ImportError:
    libtorrent_peer = None

# Runs only the swarm, with all clients.
SWARM_FLAG = "--swarm"
# Tells the process within a namespace what to run there.
NAMESPACE_FLAG = "--in-namespace"


# --- the tool itself -----------------------------------------------------------------


def a_bad_infohash_is_a_usage_error():
    for bad in ("", "xyz", "12" * 19 + "1", "12" * 21, "zz" * 20):
        for command in (["get-peers", bad], ["announce", bad, "--port", "1"], ["find-node", bad]):
            result = dht_tool.run(*command, bind="127.0.0.1:0")
            assert result.code == 2, f"{command} exits {result.code}"
            assert result.stdout == "", "nothing belongs on stdout"
            assert result.stderr != "", "stderr does not say what is wrong"


def an_unknown_command_is_a_usage_error():
    result = dht_tool.run("frobnicate")
    assert result.code == 2, f"exits {result.code}"


def a_node_ends_cleanly_on_sigterm():
    node = dht_tool.node("127.0.0.1:0")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", node.addr), node.addr
    assert re.fullmatch(r"[0-9a-f]{40}", node.id), node.id
    code = node.stop()
    assert code in (0, -signal.SIGTERM), f"exits {code}"


def ping_of_a_silent_address_exits_1():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        addr = "%s:%d" % silent.getsockname()
        result = dht_tool.run("ping", addr, bind="127.0.0.1:0", timeout=3)
    assert result.code == 1, f"exits {result.code}"
    assert result.of("pong") == [], result.stdout


ALONE = [
    a_bad_infohash_is_a_usage_error,
    an_unknown_command_is_a_usage_error,
    a_node_ends_cleanly_on_sigterm,
    ping_of_a_silent_address_exits_1,
]


# --- libtorrent ----------------------------------------------------------------------


def ping_reaches_libtorrent():
    session = libtorrent_peer.Session()
    result = dht_tool.run("ping", session.addr, bind="127.0.0.1:0")
    assert result.code == 0, f"exits {result.code}"
    [pong] = result.of("pong")
    assert pong["id"] == session.id, f"{pong} but libtorrent is {session.id}"
    assert 0 <= pong["rtt_ms"] < 5000, pong


def find_node_finds_a_libtorrent_node_by_its_id():
    first, *_, last = libtorrent_peer.swarm(6)
    result = dht_tool.run("find-node", last.id, bind="127.0.0.1:0", bootstrap=[first.addr])
    assert result.code == 0, f"exits {result.code}"
    found = {event["id"]: event["addr"] for event in result.of("node")}
    assert found.get(last.id) == last.addr, f"{last.id} at {last.addr} is not in {found}"
    assert len(found) >= 4, f"only {len(found)} of 6 nodes: {found}"


def get_peers_of_an_unknown_infohash_exits_1():
    first, *_ = libtorrent_peer.swarm(3)
    result = dht_tool.run(
        "get-peers", random_hash(), bind="127.0.0.1:0", bootstrap=[first.addr]
    )
    assert result.code == 1, f"exits {result.code}"
    assert result.peers() == set(), result.stdout
    assert result.of("done"), "no done event"


def get_peers_finds_what_libtorrent_announces():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    last.announce(infohash, 7001)
    result = poll_get_peers(infohash, {"127.0.0.1:7001"}, bootstrap=[first.addr])
    assert result.peers() == {"127.0.0.1:7001"}, result.stdout
    [done] = result.of("done")
    assert done["peers"] == 1 and done["queried"] >= 1, done


def get_peers_finds_many_peers_that_libtorrent_announced():
    first, *_, last = libtorrent_peer.swarm(3)
    infohash = random_hash()
    wanted = set()
    for port in range(7100, 7140):
        last.announce(infohash, port)
        wanted.add(f"127.0.0.1:{port}")
    result = poll_get_peers(infohash, wanted, bootstrap=[first.addr])
    assert result.peers() == wanted, sorted(wanted ^ result.peers())
    assert len(result.of("peer")) == len(wanted), "a peer was printed twice"


def libtorrent_finds_what_announce_announced():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    announce(infohash, "--port", "7201", bootstrap=[first.addr])
    libtorrent_finds(last, infohash, {"127.0.0.1:7201"})


def libtorrent_finds_what_announce_announced_with_the_implied_port():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    result = announce(infohash, "--implied-port", bootstrap=[first.addr])
    [listening] = result.of("listening")
    libtorrent_finds(last, infohash, {listening["addr"]})


def announce_with_keep_stays_until_sigterm():
    first, *_, last = libtorrent_peer.swarm(3)
    infohash = random_hash()
    with dht_tool.Running(
        "announce",
        infohash,
        "--port",
        "7301",
        "--keep",
        binds=["127.0.0.1:0"],
        bootstrap=[first.addr],
    ) as announcer:
        announcer.wait_for("announced", 30)
        libtorrent_finds(last, infohash, {"127.0.0.1:7301"})
        assert announcer.process.poll() is None, "it ended by itself"
        code = announcer.stop()
        assert code in (0, -signal.SIGTERM), f"exits {code}"


def a_node_is_the_only_bootstrap_of_two_libtorrent_sessions():
    with dht_tool.node("127.0.0.1:0") as node:
        announcer, searcher, _ = two_sessions_meet_at(node, 7401)
        both = {announcer.id: announcer.addr, searcher.id: searcher.addr}
        known = until(
            15,
            lambda: krpc.nodes_known_to(node.addr, node.id, bind="127.0.0.1"),
            lambda known: both.items() <= known.items(),
        )
        assert both.items() <= known.items(), f"the node gives {known}, not {both}"


def a_node_stores_what_libtorrent_announces():
    with dht_tool.node("127.0.0.1:0") as node:
        announcer = libtorrent_peer.joined(node.addr)
        explicit, implied = random_hash(), random_hash()
        announcer.announce(explicit, 7501)
        announcer.announce(implied, 0, implied=True)
        for infohash, wanted in ((explicit, "127.0.0.1:7501"), (implied, announcer.addr)):
            stored = until(
                10,
                lambda: krpc.peers_stored_at(node.addr, infohash, bind="127.0.0.1"),
                lambda stored: wanted in stored,
            )
            assert stored == {wanted}, f"the node stores {stored}, not {wanted}"


def libtorrent_keeps_a_node_in_its_table_but_not_a_read_only_one():
    session = libtorrent_peer.Session()
    ordinary = dht_tool.node("127.0.0.1:0", bootstrap=[session.addr])
    read_only = dht_tool.node("127.0.0.1:0", bootstrap=[session.addr], options=["--read-only"])
    with ordinary, read_only:
        # libtorrent verifies the nodes it learned of by querying one every 5 s.
        live = until(30, session.live_nodes, lambda live: ordinary.id in live)
        assert live.get(ordinary.id) == ordinary.addr, f"libtorrent keeps {live}"
        time.sleep(6)
        live = session.live_nodes()
        assert read_only.id not in live, f"libtorrent keeps {live}"


def libtorrent_over_ipv6():
    need_ipv6()
    first = libtorrent_peer.Session("::1")
    last = libtorrent_peer.Session("::1", bootstrap=[first.addr])
    last.wait_until_bootstrapped()
    theirs, ours = random_hash(), random_hash()
    last.announce(theirs, 7601)
    poll_get_peers(theirs, {"[::1]:7601"}, bind="[::1]:0", bootstrap=[first.addr])
    announce(ours, "--port", "7602", bind="[::1]:0", bootstrap=[first.addr])
    libtorrent_finds(last, ours, {"[::1]:7602"})


def a_dual_stack_node_bootstraps_libtorrent_on_both_families():
    need_ipv6()
    with dht_tool.node("127.0.0.1:0", "[::1]:0") as node:
        announcer = libtorrent_peer.Session("127.0.0.1", "::1", bootstrap=node.addrs)
        searcher = libtorrent_peer.Session("127.0.0.1", "::1", bootstrap=node.addrs)
        announcer.wait_until_bootstrapped()
        searcher.wait_until_bootstrapped()
        infohash = random_hash()
        wanted = {"127.0.0.1:7701", "[::1]:7701"}
        announcer.announce(infohash, 7701)
        libtorrent_finds(searcher, infohash, wanted)


def two_sessions_meet_at(node, port):
    """Returns a session that announces a torrent, one that finds it there, and the torrent."""
    announcer, searcher = (libtorrent_peer.joined(node.addr) for _ in range(2))
    infohash = random_hash()
    announcer.announce(infohash, port)
    libtorrent_finds(searcher, infohash, {f"127.0.0.1:{port}"})
    return announcer, searcher, infohash


LIBTORRENT = [
    ping_reaches_libtorrent,
    find_node_finds_a_libtorrent_node_by_its_id,
    get_peers_of_an_unknown_infohash_exits_1,
    get_peers_finds_what_libtorrent_announces,
    get_peers_finds_many_peers_that_libtorrent_announced,
    libtorrent_finds_what_announce_announced,
    libtorrent_finds_what_announce_announced_with_the_implied_port,
    announce_with_keep_stays_until_sigterm,
    a_node_is_the_only_bootstrap_of_two_libtorrent_sessions,
    a_node_stores_what_libtorrent_announces,
    libtorrent_keeps_a_node_in_its_table_but_not_a_read_only_one,
    libtorrent_over_ipv6,
    a_dual_stack_node_bootstraps_libtorrent_on_both_families,
]


# --- our node in a tokio task --------------------------------------------------------


def a_tokio_node_finds_what_libtorrent_announces():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    last.announce(infohash, 7011)
    poll_get_peers(infohash, {"127.0.0.1:7011"}, bootstrap=[first.addr], program=dht_tool.TOKIO)


def libtorrent_finds_what_a_tokio_node_announced():
    first, *_, last = libtorrent_peer.swarm(4)
    infohash = random_hash()
    announce(infohash, "7012", bootstrap=[first.addr], program=dht_tool.TOKIO)
    libtorrent_finds(last, infohash, {"127.0.0.1:7012"})


def a_tokio_node_is_the_only_bootstrap_of_two_libtorrent_sessions():
    with dht_tool.node("127.0.0.1:0", program=dht_tool.TOKIO) as node:
        *_, infohash = two_sessions_meet_at(node, 7013)
        stored = krpc.peers_stored_at(node.addr, infohash, bind="127.0.0.1")
        assert stored == {"127.0.0.1:7013"}, f"the node stores {stored}"


TOKIO = [
    a_tokio_node_finds_what_libtorrent_announces,
    libtorrent_finds_what_a_tokio_node_announced,
    a_tokio_node_is_the_only_bootstrap_of_two_libtorrent_sessions,
]


# --- the mainline crate --------------------------------------------------------------


def what_mainline_announces_is_found_by(program):
    with mainline_swarm() as node:
        infohash = random_hash()
        announce(infohash, "7021", bootstrap=[node.addr], program=dht_tool.MAINLINE)
        poll_get_peers(infohash, {"127.0.0.1:7021"}, bootstrap=[node.addr], program=program)


def mainline_finds_what_was_announced_by(program, *port):
    with mainline_swarm() as node:
        infohash = random_hash()
        announce(infohash, *port, bootstrap=[node.addr], program=program)
        poll_get_peers(
            infohash, {"127.0.0.1:7022"}, bootstrap=[node.addr], program=dht_tool.MAINLINE
        )


def get_peers_finds_what_mainline_announces():
    what_mainline_announces_is_found_by(dht_tool.DHT)


def a_tokio_node_finds_what_mainline_announces():
    what_mainline_announces_is_found_by(dht_tool.TOKIO)


def mainline_finds_what_announce_announced():
    mainline_finds_what_was_announced_by(dht_tool.DHT, "--port", "7022")


def mainline_finds_what_a_tokio_node_announced():
    mainline_finds_what_was_announced_by(dht_tool.TOKIO, "7022")


def a_node_is_the_only_bootstrap_of_mainline():
    for program in (dht_tool.DHT, dht_tool.TOKIO):
        with dht_tool.node("127.0.0.1:0", program=program) as node:
            infohash = random_hash()
            # It requests the token for its announce with `get`.
            announce(infohash, "7023", bootstrap=[node.addr], program=dht_tool.MAINLINE)
            poll_get_peers(
                infohash, {"127.0.0.1:7023"}, bootstrap=[node.addr], program=dht_tool.MAINLINE
            )


MAINLINE = [
    get_peers_finds_what_mainline_announces,
    a_tokio_node_finds_what_mainline_announces,
    mainline_finds_what_announce_announced,
    mainline_finds_what_a_tokio_node_announced,
    a_node_is_the_only_bootstrap_of_mainline,
]


# --- Transmission, within its namespace ----------------------------------------------

SWARM_SIZE = 12
TRANSMISSION_HOST = "10.200.0.1"
TOOL = "10.100.0.1:0"
HARNESS = "10.101.0.1"


class Stage:
    """A swarm of `dht node`s with one Transmission, which the checks share."""

    def __init__(self):
        self.nodes = []
        self.transmission = None
        self.announcer = None
        self.peer = None

    def start(self):
        self.found_by_get_peers = random_hash()
        self.found_by_transmission = random_hash()
        for number in range(1, SWARM_SIZE + 1):
            first = [self.nodes[0].addr] if self.nodes else []
            self.nodes.append(dht_tool.node(f"10.{number}.0.1:6881", bootstrap=first))
        self.bootstrap = [self.nodes[0].addr]
        # Transmission looks up a torrent once it knows more than 8 nodes of which 4
        # have answered it, and then not again for 25 minutes: what it is to find must be
        # announced before.
        self.peer = transmission_peer.BitTorrentPeer("10.50.0.1", self.found_by_transmission)
        self.announcer = dht_tool.Running(
            "announce",
            self.found_by_transmission,
            "--port",
            str(self.peer.port),
            "--keep",
            binds=["10.50.0.1:6881"],
            bootstrap=self.bootstrap,
        )
        self.announcer.wait_for("announced", 30)
        # It learns of the 8 nodes closest to its id. That is one too few, so those it
        # bootstraps from are the farthest; it looks for 4 that answer, so they are 4.
        node_id = "%040x" % (int(self.nodes[0].id, 16) ^ (2**160 - 1))
        furthest = sorted(
            self.nodes, key=lambda node: int(node.id, 16) ^ int(node_id, 16), reverse=True
        )
        self.transmission = transmission_peer.Transmission(
            TRANSMISSION_HOST, [node.addr for node in furthest[:4]], node_id
        )
        self.transmission.add_magnet(self.found_by_get_peers)
        self.transmission.add_magnet(self.found_by_transmission)

    def stop(self):
        for part in (self.transmission, self.announcer, self.peer, *self.nodes):
            if part:
                part.stop()


stage = Stage()


def a_swarm_of_nodes_starts_with_transmission():
    stage.start()


def get_peers_finds_what_transmission_announces():
    need_transmission()
    # Queries our own nodes only: Transmission remembers any node that queries it, read-only
    # or not, and its lookup waits long for those that are gone.
    infohash, wanted = stage.found_by_get_peers, stage.transmission.addr
    until(
        120,
        lambda: [krpc.peers_stored_at(node.addr, infohash, bind=HARNESS) for node in stage.nodes],
        lambda stored: any(wanted in peers for peers in stored),
    )
    result = poll_get_peers(infohash, {wanted}, bind=TOOL, bootstrap=stage.bootstrap)
    assert result.peers() == {wanted}, result.stdout


def transmission_finds_what_announce_announced():
    need_transmission()
    torrent = until(
        110,
        lambda: stage.transmission.torrent(stage.found_by_transmission),
        lambda torrent: torrent["peersFrom"]["fromDht"] > 0,
    )
    assert stage.peer.handshakes, f"Transmission did not connect to {stage.peer.addr}: {torrent}"
    assert torrent["peersFrom"]["fromDht"] == 1, torrent
    [peer] = torrent["peers"]
    assert f"{peer['address']}:{peer['port']}" == stage.peer.addr, torrent


def need_transmission():
    assert stage.transmission, "the swarm did not start"


def ping_reaches_transmission():
    need_transmission()
    result = dht_tool.run("ping", stage.transmission.addr, bind=TOOL)
    assert result.code == 0, f"exits {result.code}"
    [pong] = result.of("pong")
    assert pong["id"] == stage.transmission.node_id, pong


def find_node_finds_transmission_by_its_id():
    need_transmission()
    transmission = stage.transmission
    result = dht_tool.run(
        "find-node", transmission.node_id, bind=TOOL, bootstrap=stage.bootstrap
    )
    assert result.code == 0, f"exits {result.code}"
    found = {event["id"]: event["addr"] for event in result.of("node")}
    assert found.get(transmission.node_id) == transmission.addr, f"not in {found}"


def transmission_gives_the_nodes_it_learned_of():
    need_transmission()
    ours = {node.id: node.addr for node in stage.nodes}
    transmission = stage.transmission
    known = krpc.nodes_known_to(transmission.addr, transmission.node_id, bind=HARNESS)
    assert len(ours.items() & known.items()) >= 4, f"Transmission gives only {known}"
    result = dht_tool.run(
        "find-node", stage.nodes[-1].id, bind=TOOL, bootstrap=[transmission.addr]
    )
    assert result.code == 0, f"exits {result.code}"
    found = {event["id"]: event["addr"] for event in result.of("node")}
    assert found.get(stage.nodes[-1].id) == stage.nodes[-1].addr, f"not in {found}"


def transmission_stores_what_announce_announced():
    need_transmission()
    transmission = stage.transmission
    # An infohash next to Transmission's id makes it the closest node.
    infohash = transmission.node_id[:-1] + "0123456789abcdef"[int(transmission.node_id[-1], 16) ^ 1]
    announce(infohash, "--port", "7801", bind=TOOL, bootstrap=stage.bootstrap)
    stored = krpc.peers_stored_at(transmission.addr, infohash, bind=HARNESS)
    assert stored == {"10.100.0.1:7801"}, f"Transmission stores {stored}"
    result = dht_tool.run("get-peers", infohash, bind=TOOL, bootstrap=[transmission.addr])
    assert result.code == 0, f"exits {result.code}"
    assert result.peers() == {"10.100.0.1:7801"}, result.stdout


TRANSMISSION = [
    a_swarm_of_nodes_starts_with_transmission,
    get_peers_finds_what_transmission_announces,
    transmission_finds_what_announce_announced,
    ping_reaches_transmission,
    find_node_finds_transmission_by_its_id,
    transmission_gives_the_nodes_it_learned_of,
    transmission_stores_what_announce_announced,
]


# --- running the checks --------------------------------------------------------------


class OutOfTime(BaseException):
    pass


def out_of_time(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise OutOfTime


def run_checks(checks, counts):
    """Runs checks one after the other; returns False if the time is over."""
    for check in checks:
        verdict, time_left = run_check(check)
        counts[verdict] += 1
        if not time_left:
            return False
    return True


def run_check(check):
    """Runs one check and prints its line; returns the result, and whether time is left."""
    dht_tool.journal.clear()
    started = time.monotonic()
    time_left = True
    try:
        check()
        verdict, reason = "ok", ""
    except Skip as skip:
        verdict, reason = "skipped", f": {skip}"
    except AssertionError as error:
        verdict, reason = "FAIL", f": {error}"
    except OutOfTime:
        verdict, reason, time_left = "FAIL", ": the whole run is out of time", False
    except Exception:
        verdict, reason = "FAIL", ": " + traceback.format_exc()
    reason = reason.rstrip().replace("\n", "\n    ")
    print(f"{verdict} {check.__name__} ({time.monotonic() - started:.1f} s){reason}", flush=True)
    if verdict == "FAIL":
        show_what_was_said()
    if libtorrent_peer:
        libtorrent_peer.stop_all()
    return verdict, time_left


def show_what_was_said():
    for entry in dht_tool.journal[-3:]:
        print(f"    $ {' '.join(entry['args'])}   -> {entry['code']}")
        for stream in ("stdout", "stderr"):
            for line in entry[stream].splitlines()[-20:]:
                print(f"      {stream}: {line}")
    for session in libtorrent_peer.sessions[:3] if libtorrent_peer else ():
        session.alerts()
        print(f"    libtorrent at {session.addr}")
        for line in list(session.log)[-10:]:
            print(f"      {line[:240]}")
    if stage.transmission:
        print(f"    Transmission at {stage.transmission.addr}")
        for line in stage.transmission.log_tail():
            print(f"      {line}")
    for line in swarm.stage.log_tail():
        print(f"    {line[:400]}")
    sys.stdout.flush()


def run_in_namespace(counts, names, staged):
    """Runs checks that share a stage in another process, and counts its lines."""
    prefix = transmission_peer.namespace_command()
    if not prefix:
        return skip_all(counts, staged.checks, "no network namespace can be made here")
    child = subprocess.Popen(
        [*prefix, sys.executable, "-u", "-B", __file__, NAMESPACE_FLAG, staged.name, *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=dht_tool.die_with_parent,
    )
    try:
        pass_on(child.stdout, counts)
    except OutOfTime:
        child.terminate()
        pass_on(child.stdout, counts)
    try:
        code = child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    if code != 0:
        print(f"FAIL the checks of {staged.name} ended with exit code {code}", flush=True)
        counts["FAIL"] += 1


def pass_on(lines, counts):
    for line in lines:
        print(line, end="", flush=True)
        verdict = line.split(" ", 1)[0]
        if verdict in counts:
            counts[verdict] += 1


def skip_all(counts, checks, reason):
    for check in checks:
        print(f"skipped {check.__name__}: {reason}", flush=True)
        counts["skipped"] += 1


class Staged:
    """Runs checks that share a stage, which the first of them sets up, in a namespace."""

    def __init__(self, name, stage, checks):
        self.name, self.stage, self.checks = name, stage, checks

    def run(self, counts, chosen):
        transmission_peer.set_up_namespace()
        try:
            run_checks([*self.checks[:1], *chosen(self.checks[1:])], counts)
        finally:
            self.stage.stop()


STAGED = {
    "transmission": lambda: Staged("transmission", stage, TRANSMISSION),
    "swarm": lambda: Staged("swarm", swarm.stage, swarm.checks(quick=True)),
    "whole-swarm": lambda: Staged("whole-swarm", swarm.stage, swarm.checks(quick=False)),
}


def main(names):
    signal.signal(signal.SIGTERM, out_of_time)
    counts = {"ok": 0, "FAIL": 0, "skipped": 0}
    within = None
    if NAMESPACE_FLAG in names[:1]:
        within, names = STAGED[names[1]](), names[2:]
    whole_swarm = SWARM_FLAG in names
    names = [name for name in names if name != SWARM_FLAG]

    def chosen(checks):
        return [c for c in checks if not names or any(name in c.__name__ for name in names)]

    if within:
        within.run(counts, chosen)
        return 0

    started = time.monotonic()
    if whole_swarm:
        print(f"# {swarm.versions(quick=False)}")
        run_in_namespace(counts, names, STAGED["whole-swarm"]())
    else:
        run_all(chosen, counts, names)
    print(f"# {time.monotonic() - started:.0f} s in all")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAIL"] else 0


def run_all(chosen, counts, names):
    print(f"# {swarm.versions(quick=True)}")
    go_on = run_checks(chosen(ALONE), counts)
    no_libtorrent = None if libtorrent_peer else "libtorrent is not installed"
    no_peer = None if dht_tool.PEER else "the nodes in `peer` are not built"
    no_transmission = None if transmission_peer.version() else "transmission-daemon is not installed"
    for checks, lacking in (
        (LIBTORRENT + items.LIBTORRENT, no_libtorrent),
        (TOKIO, no_libtorrent or no_peer),
        (MAINLINE + items.MAINLINE, no_peer),
    ):
        if go_on and lacking:
            skip_all(counts, chosen(checks), lacking)
        elif go_on:
            go_on = run_checks(chosen(checks), counts)
    for name, lacking in (("transmission", no_transmission), ("swarm", no_peer)):
        staged = STAGED[name]()
        if go_on and chosen(staged.checks) and lacking:
            skip_all(counts, chosen(staged.checks), lacking)
        elif go_on and chosen(staged.checks):
            run_in_namespace(counts, names, staged)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
