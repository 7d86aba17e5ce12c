"""qBittorrent, built on libtorrent, with its own settings."""

import shutil
import urllib.request
import uuid

from .client import PORT, TorrentClient, first_line

WEB_UI = 8080

# "Disabled" encryption, and TCP alone, so that it connects to peers at once.
CONFIG = """
[LegalNotice]
Accepted=true
[BitTorrent]
Session\\Interface=lo
Session\\InterfaceName=lo
Session\\InterfaceAddress={host}
Session\\Port={port}
Session\\DHTEnabled=true
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\Encryption=2
Session\\BTProtocol=TCP
Session\\DefaultSavePath={files}
[Network]
PortForwardingEnabled=false
[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\Port={web_ui}
WebUI\\LocalHostAuth=false
WebUI\\UseUPnP=false
"""


class Qbittorrent(TorrentClient):
    NAME, HOST = "qBittorrent", "10.62.1.1"

    @classmethod
    def lacking(cls):
        return None if shutil.which("qbittorrent-nox") else "qbittorrent-nox is not installed"

    @classmethod
    def version(cls):
        return first_line("qbittorrent-nox", "--version")

    def start(self):
        config = CONFIG.format(host=self.HOST, port=PORT, files=self.path("files"), web_ui=WEB_UI)
        self.write("qBittorrent", "config", "qBittorrent.conf", text=config)
        self.run("qbittorrent-nox", f"--profile={self.folder}", f"--webui-port={WEB_UI}")
        self.wait_for(lambda: self.call("app/version"), "no web UI")
        # It knows only the nodes of torrents.
        self.take_part(self.new_torrent(""))

    def call(self, path, data=None, headers={}):
        request = urllib.request.Request(f"http://127.0.0.1:{WEB_UI}/api/v2/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def take_part(self, torrent):
        boundary = uuid.uuid4().hex.encode()
        with open(torrent.file, "rb") as file:
            content = file.read()
        body = (
            b"--%s\r\nContent-Disposition: form-data; name=torrents; filename=t.torrent\r\n"
            b"Content-Type: application/x-bittorrent\r\n\r\n%s\r\n--%s--\r\n"
        ) % (boundary, content, boundary)
        kind = f"multipart/form-data; boundary={boundary.decode()}"
        said = self.call("torrents/add", body, {"Content-Type": kind})
        assert said == b"Ok.", f"qBittorrent says {said}"
