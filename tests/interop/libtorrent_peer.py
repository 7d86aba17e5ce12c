"""A libtorrent session used as a DHT node."""

import collections
import hashlib
import socket
import time

import libtorrent as lt

VERSION = lt.__version__

SETTINGS = {
    "user_agent": "dht-interop",
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # By default libtorrent accepts one node per address and requires ids derived from addresses.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_ignore_dark_internet": False,
    # All senders share one address here, so limits per address would apply to all of them together.
    "dht_block_ratelimit": 10000,
    "dht_upload_rate_limit": 1000000,
    "alert_queue_size": 20000,
    "alert_mask": lt.alert.category_t.dht_notification
    | lt.alert.category_t.dht_operation_notification
    | lt.alert.category_t.dht_log_notification
    | lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification,
}

SEED = 1
IMPLIED_PORT = 2

# The sessions of the current check, whose last alerts are shown when it fails.
sessions = []


class Session:
    def __init__(self, *hosts, bootstrap=()):
        hosts = hosts or ("127.0.0.1",)
        self.port = free_port(hosts)
        brackets = ["[%s]" % host if ":" in host else host for host in hosts]
        self.addrs = ["%s:%d" % (host, self.port) for host in brackets]
        self.addr = self.addrs[0]
        self.log = collections.deque(maxlen=60)
        self.bootstrapped = False
        self.session = lt.session(
            {
                **SETTINGS,
                "listen_interfaces": ",".join(self.addrs),
                "dht_bootstrap_nodes": ",".join(bootstrap),
            }
        )
        sessions.append(self)
        self.wait_until_listening(len(hosts))

    def wait_until_listening(self, count, seconds=5):
        end = time.monotonic() + seconds
        sockets = 0
        while time.monotonic() < end:
            for alert in self.alerts():
                if isinstance(alert, lt.listen_failed_alert):
                    raise AssertionError(alert.message())
                if isinstance(alert, lt.listen_succeeded_alert):
                    sockets += alert.socket_type == lt.socket_type_t.utp
            if sockets >= count:
                return
            time.sleep(0.02)
        raise AssertionError(f"libtorrent does not listen on {self.addrs}")

    def alerts(self):
        alerts = self.session.pop_alerts()
        for alert in alerts:
            self.log.append(f"{alert.what()}: {alert.message()}"[:400])
            self.bootstrapped |= isinstance(alert, lt.dht_bootstrap_alert)
        return alerts

    def wait_until_bootstrapped(self, seconds=10):
        end = time.monotonic() + seconds
        while not self.bootstrapped and time.monotonic() < end:
            time.sleep(0.02)
            self.alerts()
        assert self.bootstrapped, "libtorrent did not bootstrap"

    def announce(self, infohash, port, implied=False, seed=False):
        flags = (IMPLIED_PORT if implied else 0) | (SEED if seed else 0)
        self.session.dht_announce(lt.sha1_hash(bytes.fromhex(infohash)), port, flags)

    def get_peers(self, infohash, wanted, seconds=15):
        """Looks up until all the wanted addresses are found; returns what was found."""
        end = time.monotonic() + seconds
        again = 0
        found = set()
        while not wanted <= found and time.monotonic() < end:
            if time.monotonic() >= again:
                again = time.monotonic() + 3
                self.session.dht_get_peers(lt.sha1_hash(bytes.fromhex(infohash)))
            time.sleep(0.05)
            for alert in self.alerts():
                if isinstance(alert, lt.dht_get_peers_reply_alert):
                    if str(alert.info_hash) == infohash:
                        found |= {
                            ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)
                            for host, port in alert.peers()
                        }
        return found

    def put_immutable(self, value):
        target = str(self.session.dht_put_immutable_item(value))
        self._wait_for(lt.dht_put_alert, lambda alert: alert.num_success > 0)
        return target

    def get_immutable(self, target):
        self.session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(target)))
        return self._wait_for(lt.dht_immutable_item_alert, lambda alert: True).item

    def put_mutable(self, secret, public, value, salt=b""):
        """Replaces the version that is found; returns the number of the new one."""
        # libtorrent expects the two halves that RFC 8032 derives from a secret.
        halves = bytearray(hashlib.sha512(secret).digest())
        halves[0] &= 248
        halves[31] = (halves[31] & 63) | 64
        self.session.dht_put_mutable_item(bytes(halves), public, value, salt)
        return self._wait_for(lt.dht_put_alert, lambda alert: alert.num_success > 0).seq

    def get_mutable(self, public, salt=b"", seq=0):
        """Returns the first value with this number or a higher one, and its number."""
        self.session.dht_get_mutable_item(public, salt)
        found = self._wait_for(lt.dht_mutable_item_alert, lambda alert: alert.item and alert.seq >= seq)
        return found.item, found.seq

    def sample(self, addr):
        """Returns the sample of infohashes of the node at this address, and how many it stores."""
        host, port = addr.rsplit(":", 1)
        self.session.dht_sample_infohashes((host, int(port)), lt.sha1_hash(bytes(20)))
        told = self._wait_for(lt.dht_sample_infohashes_alert, lambda alert: True)
        return {str(infohash) for infohash in told.samples}, told.num_infohashes

    def _wait_for(self, kind, fits, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for alert in self.alerts():
                if isinstance(alert, kind) and fits(alert):
                    return alert
            time.sleep(0.02)
        raise AssertionError(f"libtorrent: no {kind.__name__} after {seconds} s")

    def ids(self):
        """The node id of each socket's DHT node."""
        self.alerts()
        state = self.session.save_state(lt.save_state_flags_t.save_dht_state)
        return [entry[:20].hex() for entry in state[b"dht state"][b"node-id"]]

    @property
    def id(self):
        return self.ids()[0]

    def live_nodes(self, seconds=3):
        """The confirmed nodes of the routing table, {id: address}."""
        self.session.dht_live_nodes(lt.sha1_hash(bytes.fromhex(self.id)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for alert in self.alerts():
                if isinstance(alert, lt.dht_live_nodes_alert):
                    return {str(node["nid"]): "%s:%d" % node["endpoint"] for node in alert.nodes}
            time.sleep(0.02)
        raise AssertionError("libtorrent did not list its nodes")

    def stop(self):
        if self in sessions:
            sessions.remove(self)
        self.session.pause()
        self.session = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def joined(bootstrap):
    """A session that has joined through this node."""
    session = Session(bootstrap=[bootstrap])
    session.wait_until_bootstrapped()
    return session


def swarm(size, seconds=10):
    """Sessions that all have each other in their routing tables."""
    members = [Session() for _ in range(size)]
    for member in members:
        for other in members:
            if other is not member:
                member.session.add_dht_node(("127.0.0.1", other.port))
    end = time.monotonic() + seconds
    while any(len(member.live_nodes()) < size - 1 for member in members):
        assert time.monotonic() < end, "the libtorrent sessions did not find each other"
        time.sleep(0.1)
    return members


def stop_all():
    for session in list(sessions):
        session.stop()


def free_port(hosts):
    """A port that is free for TCP and UDP on each of the hosts."""
    for _ in range(50):
        opened = []
        try:
            port = 0
            for host in hosts:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    sock = socket.socket(family, kind)
                    opened.append(sock)
                    sock.bind((host, port))
                    port = sock.getsockname()[1]
            return port
        except OSError:
            continue
        finally:
            for sock in opened:
                sock.close()
    raise AssertionError("no free port")
