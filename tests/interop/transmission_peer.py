"""Transmission in a network namespace of its own, and a peer for it to find.

Transmission ignores DHT nodes in 127.0.0.0/8, so the namespace has 10.0.0.0/8 on its
loopback device, and each node there gets an address of its own.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import dht_tool
import krpc

RPC_PORT = 9091
PEER_PORT = 51413


def namespace_command():
    """A prefix that runs a command in a new network namespace, or None."""
    for prefix in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        try:
            script = "ip link set lo up && ip route add local 10.0.0.0/8 dev lo"
            subprocess.run(
                [*prefix, "sh", "-c", script], check=True, capture_output=True, timeout=10
            )
            return prefix
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def set_up_namespace():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    subprocess.run(
        ["ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo"], check=True, timeout=10
    )


def version():
    if not shutil.which("transmission-daemon"):
        return None
    said = subprocess.run(
        ["transmission-daemon", "--version"], capture_output=True, text=True, timeout=10
    )
    return (said.stderr + said.stdout).strip()


class Transmission:
    def __init__(self, host, bootstrap, node_id):
        self.host = host
        self.addr = f"{host}:{PEER_PORT}"
        self.node_id = node_id
        self.session_id = ""
        self.directory = tempfile.mkdtemp(prefix="dht-interop-")
        self.log_path = os.path.join(self.directory, "log")
        self.write_config(bootstrap)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["transmission-daemon", "--foreground", "--config-dir", self.directory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Sends the messages of the DHT to stderr.
                env={**os.environ, "TR_DHT_VERBOSE": "1", "HOME": self.directory},
                preexec_fn=dht_tool.die_with_parent,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def write_config(self, bootstrap):
        settings = {
            "bind-address-ipv4": self.host,
            "peer-port": PEER_PORT,
            "port-forwarding-enabled": False,
            "dht-enabled": True,
            "lpd-enabled": False,
            "pex-enabled": False,
            "utp-enabled": False,
            "encryption": 0,
            "rpc-enabled": True,
            "rpc-bind-address": "127.0.0.1",
            "rpc-port": RPC_PORT,
            "rpc-authentication-required": False,
            "rpc-whitelist-enabled": False,
            "download-dir": os.path.join(self.directory, "downloads"),
            "message-level": 3,
        }
        with open(os.path.join(self.directory, "settings.json"), "w") as file:
            json.dump(settings, file)
        # One node a line, the port after a space; a pause of some 8 to 22 s after each.
        with open(os.path.join(self.directory, "dht.bootstrap"), "w") as file:
            file.writelines("%s %d\n" % krpc.split_addr(addr) for addr in bootstrap)
        # A saved state of Transmission: here only an id that is known.
        with open(os.path.join(self.directory, "dht.dat"), "wb") as file:
            file.write(krpc.bencode({"id": bytes.fromhex(self.node_id)}))

    def wait_until_ready(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, "transmission-daemon ended at once"
            try:
                self.rpc("session-get")
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise AssertionError("transmission-daemon does not answer on its RPC port")

    def rpc(self, method, **arguments):
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        for _ in range(2):
            request = urllib.request.Request(
                f"http://127.0.0.1:{RPC_PORT}/transmission/rpc",
                body,
                {"X-Transmission-Session-Id": self.session_id},
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    answer = json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise
                self.session_id = error.headers["X-Transmission-Session-Id"]
                continue
            assert answer["result"] == "success", answer
            return answer["arguments"]
        raise AssertionError("Transmission refuses its own session id")

    def add_magnet(self, infohash):
        """Adds a magnet link without trackers, so that only the DHT can find peers."""
        self.rpc("torrent-add", filename=f"magnet:?xt=urn:btih:{infohash}")

    def torrent(self, infohash):
        fields = ["hashString", "peers", "peersFrom", "status", "errorString"]
        return self.rpc("torrent-get", ids=[infohash], fields=fields)["torrents"][0]

    def log_tail(self, lines=40):
        with open(self.log_path, errors="replace") as log:
            return [line.rstrip() for line in log.readlines()[-lines:]]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class BitTorrentPeer:
    """Accepts BitTorrent connections for one infohash and stays connected."""

    def __init__(self, host, infohash, port=0):
        self.infohash = bytes.fromhex(infohash)
        self.socket = socket.create_server((host, port))
        self.addr = "%s:%d" % self.socket.getsockname()
        self.port = self.socket.getsockname()[1]
        self.handshakes = []
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, source = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection, source), daemon=True).start()

    def _talk(self, connection, source):
        # 19, "BitTorrent protocol", 8 reserved bytes, the infohash, the peer id
        self.open.append(connection)
        connection.settimeout(60)
        try:
            theirs = b""
            while len(theirs) < 48:
                chunk = connection.recv(68 - len(theirs))
                if not chunk:
                    return
                theirs += chunk
            if theirs[:20] != b"\x13BitTorrent protocol" or theirs[28:48] != self.infohash:
                return
            self.handshakes.append(source)
            connection.sendall(theirs[:20] + bytes(8) + self.infohash + b"-XX0000-" + os.urandom(12))
            while connection.recv(4096):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self):
        self.socket.close()
        for connection in self.open:
            connection.close()
