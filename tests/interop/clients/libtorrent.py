"""A libtorrent session of this process."""

from .client import OURS, Client, Torrent, hash_near, next_port

try:
    import libtorrent_peer
except ImportError:
    libtorrent_peer = None


class Libtorrent(Client):
    NAME, HOST, QUICK = "libtorrent", "10.68.1.1", True

    @classmethod
    def lacking(cls):
        return None if libtorrent_peer else "libtorrent is not installed"

    @classmethod
    def version(cls):
        return f"libtorrent {libtorrent_peer.VERSION}"

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.session = libtorrent_peer.Session(self.HOST, bootstrap=bootstrap)
        # It is used after the check that started it.
        libtorrent_peer.sessions.remove(self.session)
        self.addr = self.session.addr

    def new_torrent(self, near):
        return Torrent(hash_near(near), port=next_port())

    def take_part(self, torrent):
        self.session.announce(torrent.infohash, torrent.port)

    def announced(self, torrent):
        return f"{self.HOST}:{torrent.port}"

    def found(self, torrent):
        wanted = {f"{OURS}:{torrent.port}"}
        return wanted <= self.session.get_peers(torrent.infohash, wanted, 3)

    def log_tail(self):
        self.session.alerts()
        return [line[:240] for line in list(self.session.log)[-10:]]

    def stop(self):
        self.session.stop()
