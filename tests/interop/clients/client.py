"""The common interface of the clients of the swarm.

A client runs on an address of its own, joins by the nodes that it is given, and is then asked to
`take_part` in a torrent: to announce itself as a peer of it and to look for other peers, which it
may take as long as it likes to do. Whole BitTorrent clients get a torrent file made on the fly.
"""

import itertools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

import dht_tool
import krpc
from steps import random_hash
from transmission_peer import BitTorrentPeer

PORT = 6881
# The address of our own node of the swarm, and of the peers that it announces.
OURS = "10.50.1.1"


class Client:
    """The common interface. `HOST` is the address that only this client has in the namespace."""

    NAME = ""
    HOST = ""
    # Whether it is quick and dependable enough for every run.
    QUICK = False
    # How long it may take from a torrent to its announce and to its first look for peers.
    PATIENCE = 60

    @classmethod
    def lacking(cls):
        """Returns the reason why it cannot run here, or None."""

    @classmethod
    def version(cls):
        return ""

    def __init__(self, bootstrap):
        """Starts the client; these nodes, 'host:port', are running already."""
        self.bootstrap = bootstrap
        self.addr = f"{self.HOST}:{PORT}"
        self.id = ""

    def wait_until_up(self, bind, seconds=40):
        """Waits until it answers as a node."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reply = krpc.query(self.addr, "ping", bind=bind, tries=1)
            if reply:
                self.id = reply[b"id"].hex()
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.NAME} does not answer as a node after {seconds} s")

    def new_torrent(self, near):
        """Returns a torrent that only this client takes part in, and the peer of ours to be found.

        Its infohash is close to `near`, the id of a node of ours, which is therefore among those that the
        client announces it to; random if that is empty.
        """
        raise NotImplementedError

    def take_part(self, torrent):
        raise NotImplementedError

    def announced(self, torrent):
        """Returns the peer that it announces."""
        return self.addr

    def found(self, torrent):
        """Returns whether it found the peer that we announced."""
        raise NotImplementedError

    def log_tail(self):
        return []

    def stop(self):
        pass


class Torrent:
    def __init__(self, infohash, file=None, peer=None, port=0):
        self.infohash, self.file, self.peer = infohash, file, peer
        # The port that we announce: that of `peer`, or just a number. Nodes announce the same.
        self.port = peer.port if peer else port


class TorrentClient(Client):
    """A whole BitTorrent client, in its own process and folder.

    It has found the peer that we announced when it connects to it.
    """

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.folder = tempfile.mkdtemp(prefix="dht-interop-")
        self.process = None
        self.peers = []
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        raise NotImplementedError

    def run(self, *line, **environment):
        with open(self.path("output"), "wb") as output:
            self.process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, "HOME": self.folder, "LC_ALL": "C.UTF-8", **environment},
                preexec_fn=dht_tool.die_with_parent,
            )

    def path(self, *names):
        path = os.path.join(self.folder, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, *names, text):
        with open(self.path(*names), "w") as file:
            file.write(text)

    def wait_for(self, ready, what, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, f"{self.NAME} ended at once"
            try:
                if ready():
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{self.NAME}: {what} after {seconds} s")

    def new_torrent(self, near):
        name = f"torrent-{len(self.peers)}"
        infohash = ""
        while not (infohash and infohash.startswith(near[:3])):
            info = {"name": name, "piece length": 16384, "length": 16384, "pieces": os.urandom(20)}
            infohash = krpc.infohash(info)
        file = self.path(f"{name}.torrent")
        with open(file, "wb") as torrent:
            nodes = [list(krpc.split_addr(addr)) for addr in self.bootstrap]
            torrent.write(krpc.bencode({"info": info, "nodes": nodes}))
        self.peers.append(BitTorrentPeer(OURS, infohash, next_port()))
        return Torrent(infohash, file, self.peers[-1])

    def found(self, torrent):
        return bool(torrent.peer.handshakes)

    def log_tail(self):
        with open(self.path("output"), errors="replace") as output:
            return output.read()[-4000:].splitlines()[-20:]

    def stop(self):
        stop_process(self.process)
        for peer in self.peers:
            peer.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class DrivenNode(Client):
    """A node in a process that is controlled by lines on its stdin, and answers each with a line of JSON."""

    def __init__(self, bootstrap, line=None):
        super().__init__(bootstrap)
        self.found_peers = {}
        self.answers = queue.Queue()
        self.errors = []
        self.process = subprocess.Popen(
            line or self.line(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=dht_tool.die_with_parent,
        )
        for read in (self._read_answers, self._read_errors):
            threading.Thread(target=read, daemon=True).start()
        try:
            self.take_answer("listening", 30)
        except BaseException:
            self.stop()
            raise

    def line(self):
        raise NotImplementedError

    def _read_answers(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors = [*self.errors[-19:], line.rstrip()]

    def take_answer(self, event, seconds):
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"{self.NAME}: no {event!r} after {seconds} s") from None
        assert line, f"{self.NAME} ended: {self.errors}"
        answer = json.loads(line)
        assert answer["event"] == event, f"{self.NAME}: {answer}"
        return answer

    def ask(self, event, *words, seconds=60):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.take_answer(event, seconds)

    def new_torrent(self, near):
        return Torrent(hash_near(near), port=next_port())

    def take_part(self, torrent):
        self.ask("announced", "announce", torrent.infohash, torrent.port)

    def announced(self, torrent):
        return f"{self.HOST}:{torrent.port}"

    def found(self, torrent):
        found = self.found_peers.setdefault(torrent.infohash, set())
        found.update(self.ask("peers", "get-peers", torrent.infohash)["peers"])
        return f"{OURS}:{torrent.port}" in found

    def log_tail(self):
        return self.errors

    def stop(self):
        stop_process(self.process)


def hash_near(near):
    return near[:6] + random_hash()[6:]


def next_port():
    """Another port whose two bytes are equal.

    rtorrent hands them out swapped, and a client that was told of two ports of one host may stay with the
    first.
    """
    return next(PORTS)


PORTS = itertools.count(0x2121, 0x0101)


def stop_process(process):
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def first_line(*line):
    """Returns the first line that a program prints, such as its version."""
    said = subprocess.run(line, capture_output=True, text=True, timeout=20)
    return (said.stdout + said.stderr).strip().split("\n")[0]
