"""Deluge, built on libtorrent, with its own settings."""

import json
import shutil
import socket
import subprocess

from .client import PORT, TorrentClient

RPC = 58846

SETTINGS = {
    "listen_ports": [PORT, PORT],
    "random_port": False,
    "dht": True,
    "upnp": False,
    "natpmp": False,
    "lsd": False,
    "utpex": False,
    # "Disabled", so that it connects to peers at once.
    "enc_in_policy": 2,
    "enc_out_policy": 2,
    "send_info": False,
    "new_release_check": False,
    "daemon_port": RPC,
    "allow_remote": False,
}


class Deluge(TorrentClient):
    NAME, HOST = "Deluge", "10.63.1.1"

    @classmethod
    def lacking(cls):
        missing = [name for name in ("deluged", "deluge-console") if not shutil.which(name)]
        return f"{' and '.join(missing)} not installed" if missing else None

    @classmethod
    def version(cls):
        said = subprocess.run(["deluged", "--version"], capture_output=True, text=True, timeout=30)
        return ", ".join(said.stdout.split("\n")[:2]).replace(":", "")

    def start(self):
        settings = {**SETTINGS, "download_location": self.folder}
        self.write("core.conf", text='{"file": 1, "format": 1}' + json.dumps(settings))
        # Its log is off: with Python 3.11 each line of it is an exception instead.
        self.run(
            *("deluged", "-d", "-c", self.folder, "-L", "none"),
            *("-i", self.HOST, "-o", self.HOST, "-u", "127.0.0.1", "-p", str(RPC)),
        )

        def rpc_answers():
            socket.create_connection(("127.0.0.1", RPC), 1).close()
            return True

        self.wait_for(rpc_answers, "no RPC")
        # It knows only the nodes of torrents.
        self.take_part(self.new_torrent(""))

    def take_part(self, torrent):
        said = subprocess.run(
            ["deluge-console", "-c", self.folder, "add", torrent.file],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "Torrent added" in said.stdout, f"deluge-console says {said.stdout} {said.stderr}"
