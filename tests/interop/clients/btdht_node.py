"""A node of `btdht` that is controlled by lines on stdin.

Arguments: host, port, nodes to start from.
"""

import json
import queue
import sys
import threading
import time

# Its folder has a module of the package's name.
sys.path.pop(0)

import btdht  # noqa: E402

# Between announces: at the first it has no tokens yet.
AGAIN = 3


class Node(btdht.DHT):
    def bootstarp(self, addresses=()):
        """Bootstraps from our nodes instead of the public ones; the name is that of the package."""
        super().bootstarp(BOOTSTRAP)


def announce(infohash, port):
    def keep():
        while True:
            node.announce_peer(bytes.fromhex(infohash), int(port))
            time.sleep(AGAIN)

    threading.Thread(target=keep, daemon=True).start()
    return {"event": "announced"}


def get_peers(infohash):
    found = queue.Queue()
    node.get_peers(bytes.fromhex(infohash), block=False, callback=found.put, limit=1000)
    try:
        peers = found.get(timeout=30) or []
    except queue.Empty:
        peers = []
    return {"event": "peers", "peers": ["%s:%d" % tuple(peer) for peer in peers]}


COMMANDS = {"announce": announce, "get-peers": get_peers}

host, port, *bootstrap = sys.argv[1:]
BOOTSTRAP = [(addr.rsplit(":", 1)[0], int(addr.rsplit(":", 1)[1])) for addr in bootstrap]

# By default it ignores private addresses.
node = Node(bind_port=int(port), bind_ip=host, ignored_net=[])
# The package prints what it does.
answers, sys.stdout = sys.stdout, sys.stderr
node.start()
# By default it starts after 15 s.
node.bootstarp()
event = {"event": "listening", "addr": f"{host}:{port}", "id": node.myid.value.hex()}
print(json.dumps(event), file=answers)
for line in sys.stdin:
    command, *words = line.split()
    print(json.dumps(COMMANDS[command](*words)), file=answers)
