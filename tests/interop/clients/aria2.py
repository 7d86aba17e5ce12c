"""aria2. It ignores `get`, `put` and `sample_infohashes`."""

import shutil
import socket

from .client import PORT, TorrentClient, first_line
from .xmlrpc import call_http

RPC = 6800


class Aria2(TorrentClient):
    NAME, HOST, QUICK = "aria2", "10.60.1.1", True

    @classmethod
    def lacking(cls):
        return None if shutil.which("aria2c") else "aria2c is not installed"

    @classmethod
    def version(cls):
        return first_line("aria2c", "--version")

    def start(self):
        self.run(
            *("aria2c", "--no-conf", "--dir", self.path("files")),
            *("--interface", self.HOST, "--listen-port", str(PORT)),
            *("--enable-dht", "--dht-listen-port", str(PORT)),
            *("--dht-entry-point", self.bootstrap[0], "--dht-file-path", self.path("dht.dat")),
            *("--bt-enable-lpd=false", "--enable-peer-exchange=false", "--seed-time=0"),
            *("--enable-rpc", "--rpc-listen-port", str(RPC), "--bt-stop-timeout=0"),
        )

        def rpc_answers():
            socket.create_connection(("127.0.0.1", RPC), 1).close()
            return True

        self.wait_for(rpc_answers, "no RPC")
        # It runs a node only with a torrent.
        self.take_part(self.new_torrent(""))

    def take_part(self, torrent):
        with open(torrent.file, "rb") as file:
            call_http(RPC, "aria2.addTorrent", file.read())
