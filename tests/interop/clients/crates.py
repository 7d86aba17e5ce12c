"""Nodes of Rust crates, built by run.sh: `mainline`, `librqbit-dht`, and our own."""

import dht_tool

from .client import OURS, PORT, DrivenNode


class CrateNode(DrivenNode):
    IMPLEMENTATION = ""

    @classmethod
    def lacking(cls):
        return None if dht_tool.PEER else "the nodes in `peer` are not built"

    def line(self):
        line = [dht_tool.PEER, self.IMPLEMENTATION, "drive", "--bind", f"{self.HOST}:{PORT}"]
        for addr in self.bootstrap:
            line += ["--bootstrap", addr]
        return line


class Ours(CrateNode):
    """Our node in a tokio task, which reports its table."""

    NAME, HOST, IMPLEMENTATION = "our node", OURS, "tokio"

    def table(self):
        """The nodes of its table, {id: address}."""
        return self.ask("nodes", "nodes")["nodes"]


class Mainline(CrateNode):
    """It ignores `sample_infohashes`."""

    NAME, HOST, IMPLEMENTATION, QUICK = "mainline", "10.64.1.1", "mainline", True

    @classmethod
    def version(cls):
        return "mainline 8"


class Librqbit(CrateNode):
    """It ignores `get`, `put`, `sample_infohashes`, and announces without the key `implied_port`.

    It announces to nodes that share 16 bits with the infohash.
    """

    NAME, HOST, IMPLEMENTATION, QUICK = "librqbit", "10.65.1.1", "rqbit", True

    @classmethod
    def version(cls):
        return "librqbit-dht 9"

    def take_part(self, torrent):
        self.ask("peers", "announce", torrent.infohash, torrent.port)
