"""Just enough of the DHT's wire format to inspect a node without the tool."""

import hashlib
import os
import socket


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    encoded = {key.encode() if isinstance(key, str) else key: item for key, item in value.items()}
    return b"d" + b"".join(bencode(key) + bencode(encoded[key]) for key in sorted(encoded)) + b"e"


def bdecode(data):
    value, end = _decode(data, 0)
    if end != len(data):
        raise ValueError("bytes after the value")
    return value


def _decode(data, at):
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = _decode(data, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2]))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError("string longer than the data")
    return data[colon + 1 : end], end


def infohash(info):
    """Returns the infohash of a torrent, from the `info` of its file."""
    return hashlib.sha1(bencode(info)).hexdigest()


def split_addr(text):
    """Parses '127.0.0.1:80' or '[::1]:80' as (host, port)."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def compact_addr(data):
    """Formats a compact address of 6 or 18 bytes as the tool does."""
    if len(data) == 6:
        return "%s:%d" % (socket.inet_ntop(socket.AF_INET, data[:4]), int.from_bytes(data[4:], "big"))
    return "[%s]:%d" % (socket.inet_ntop(socket.AF_INET6, data[:16]), int.from_bytes(data[16:], "big"))


def query(to, method, arguments=None, bind="0.0.0.0", tries=3):
    """Sends one query, read-only so that it is not remembered; returns the reply's `r`, or None."""
    arguments = {"id": os.urandom(20), **(arguments or {})}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((bind, 0))
        sock.settimeout(1)
        for _ in range(tries):
            transaction = os.urandom(4)  # `mainline` drops all others
            sock.sendto(
                bencode({"t": transaction, "y": "q", "q": method, "a": arguments, "ro": 1}),
                split_addr(to),
            )
            try:
                reply = bdecode(sock.recv(4096))
            except (TimeoutError, ConnectionError):
                continue
            if reply.get(b"t") == transaction and b"r" in reply:
                return reply[b"r"]
    return None


def peers_stored_at(node, infohash, bind="0.0.0.0"):
    """Returns the peers that this node returns for an infohash."""
    reply = query(node, "get_peers", {"info_hash": bytes.fromhex(infohash)}, bind) or {}
    return {compact_addr(value) for value in reply.get(b"values", [])}


def nodes_known_to(node, target, bind="0.0.0.0"):
    """Returns the nodes that this node lists as the closest to a target, {id: address}."""
    reply = query(node, "find_node", {"target": bytes.fromhex(target)}, bind) or {}
    nodes = reply.get(b"nodes", b"")
    return {
        nodes[at : at + 20].hex(): compact_addr(nodes[at + 20 : at + 26])
        for at in range(0, len(nodes), 26)
    }
