"""`bittorrent-dht` of npm, the DHT of WebTorrent. It ignores `sample_infohashes`."""

import json
import os
import shutil

from .client import PORT, DrivenNode

# The folder in which run.sh installed it.
FOLDER = os.environ.get("INTEROP_NPM", "")
MODULE = os.path.join(FOLDER, "node_modules", "bittorrent-dht")


class BittorrentDht(DrivenNode):
    NAME, HOST, QUICK = "bittorrent-dht", "10.66.1.1", True

    @classmethod
    def lacking(cls):
        if not shutil.which("node"):
            return "node is not installed"
        return None if FOLDER and os.path.isdir(MODULE) else "the npm package is not installed"

    @classmethod
    def version(cls):
        with open(os.path.join(MODULE, "package.json")) as package:
            return f"bittorrent-dht {json.load(package)['version']}"

    def line(self):
        script = os.path.join(os.path.dirname(__file__), "bittorrent_dht.mjs")
        return ["node", script, MODULE, self.HOST, str(PORT), *self.bootstrap]
