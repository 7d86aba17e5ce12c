"""rtorrent. It answers 201 while its table is empty, and returns ports byte-swapped.

The peers that nodes tell it it reads two bytes too early, from the `6:` before each, so that it connects
to others: that it was told some is all that can be seen.
"""

import re
import shutil
import subprocess

from .client import PORT, TorrentClient
from .xmlrpc import call_scgi

RC = """
system.daemon.set = true
session.path.set = {session}
directory.default.set = {files}
network.bind_address.set = {host}
network.local_address.set = {host}
network.port_range.set = {port}-{port}
network.port_random.set = no
network.scgi.open_local = {scgi}
protocol.encryption.set = none
protocol.pex.set = no
trackers.use_udp.set = no
dht.port.set = {port}
dht.mode.set = on
log.open_file = "output", {log}
log.add_output = "dht_debug", "output"
log.add_output = "tracker_debug", "output"
"""


class Rtorrent(TorrentClient):
    NAME, HOST = "rtorrent", "10.61.1.1"
    # It announces half a minute after its start.
    PATIENCE = 90

    @classmethod
    def lacking(cls):
        return None if shutil.which("rtorrent") else "rtorrent is not installed"

    @classmethod
    def version(cls):
        said = subprocess.run(["rtorrent", "-h"], capture_output=True, text=True, timeout=20)
        found = re.search(r"version ([\d.]+)", said.stdout + said.stderr)
        return f"rtorrent {found[1]}" if found else "rtorrent"

    def start(self):
        self.scgi = self.path("scgi")
        rc = RC.format(
            session=self.path("session", "")[:-1],
            files=self.path("files", "")[:-1],
            host=self.HOST,
            port=PORT,
            scgi=self.scgi,
            log=self.path("log"),
        )
        nodes = "".join(
            f"schedule2 = node{at}, 1, 0, ((dht.add_node, {addr}))\n"
            for at, addr in enumerate(self.bootstrap)
        )
        self.write("rc", text=rc + nodes)
        self.run("rtorrent", "-n", "-o", f"import={self.path('rc')}", TERM="xterm")
        self.wait_for(lambda: self.call("dht.statistics")["dht"] == "on", "no DHT")

    def found(self, torrent):
        told = re.compile(torrent.infohash + r"->tracker_list: received [1-9]\d* peers \(url:dht", re.I)
        return any(told.search(line) for line in self.log())

    def log(self):
        with open(self.path("log"), errors="replace") as log:
            return log.readlines()

    def log_tail(self):
        return [line.rstrip()[:240] for line in self.log()[-20:]]

    def call(self, method, *arguments):
        return call_scgi(self.scgi, method, *arguments)

    def take_part(self, torrent):
        self.call("load.start", "", torrent.file)
