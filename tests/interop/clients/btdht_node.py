"""A node of `btdht` that does what lines on stdin say.

Arguments: host, port, nodes to start from.
"""

import json
import sys
import time

# Its folder has a module of the package's name.
sys.path.pop(0)

import btdht  # noqa: E402

LOOKUP = 3


class Node(btdht.DHT):
    def bootstarp(self, addresses=()):
        """Starts from our nodes in place of the public ones; the name is the package's."""
        super().bootstarp(BOOTSTRAP)


def announce(infohash, port):
    node.announce_peer(bytes.fromhex(infohash), int(port), block=False)
    return {"event": "announced"}


def get_peers(infohash):
    """It keeps what it found before, and looks again once a search is over."""
    key = bytes.fromhex(infohash)
    end = time.monotonic() + LOOKUP
    peers = []
    while not peers and time.monotonic() < end:
        peers = node.get_peers(key, block=False, limit=1000) or []
        time.sleep(0.1)
    return {"event": "peers", "peers": ["%s:%d" % peer for peer in peers]}


COMMANDS = {"announce": announce, "get-peers": get_peers}

host, port, *bootstrap = sys.argv[1:]
BOOTSTRAP = [(addr.rsplit(":", 1)[0], int(addr.rsplit(":", 1)[1])) for addr in bootstrap]

# By default it ignores private addresses.
node = Node(bind_port=int(port), bind_ip=host, ignored_net=[])
# The package prints what it does.
answers, sys.stdout = sys.stdout, sys.stderr
node.start()
event = {"event": "listening", "addr": f"{host}:{port}", "id": node.myid.value.hex()}
print(json.dumps(event), file=answers)
for line in sys.stdin:
    command, *words = line.split()
    print(json.dumps(COMMANDS[command](*words)), file=answers)
