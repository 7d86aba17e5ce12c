"""Transmission. It ignores `get`, `put` and `sample_infohashes`."""

import transmission_peer
from steps import random_hash

from .client import OURS, Client, Torrent, hash_near, next_port


class Transmission(Client):
    NAME, HOST, QUICK = "Transmission", "10.69.1.1", True
    # It waits for some 8 to 22 s after each bootstrap node, and looks up when it knows
    # more than 8 of which 4 answered.
    PATIENCE = 180

    @classmethod
    def lacking(cls):
        return None if transmission_peer.version() else "transmission-daemon is not installed"

    @classmethod
    def version(cls):
        return transmission_peer.version()

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.peers = []
        self.daemon = transmission_peer.Transmission(self.HOST, bootstrap, random_hash())
        self.addr = self.daemon.addr

    def new_torrent(self, near):
        infohash = hash_near(near)
        self.peers.append(transmission_peer.BitTorrentPeer(OURS, infohash, next_port()))
        return Torrent(infohash, peer=self.peers[-1])

    def take_part(self, torrent):
        self.daemon.add_magnet(torrent.infohash)

    def found(self, torrent):
        return bool(torrent.peer.handshakes)

    def log_tail(self):
        return self.daemon.log_tail(20)

    def stop(self):
        self.daemon.stop()
        for peer in self.peers:
            peer.stop()
