"""What an application does with ZooKeeper, through kazoo: fails with a traceback, or ends with `ok`.

Usage: kazoo_basic.py HOST:PORT[,HOST:PORT...]; with several hosts it asks on stdout for the server
that it is connected to to be killed, and waits for a line on stdin.
"""

import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType
from kazoo.security import make_digest_acl

HOSTS = sys.argv[1]
SEVERAL = "," in HOSTS
PATIENCE = 30


def connect(**options):
    client = KazooClient(hosts=HOSTS, timeout=20, **options)
    client.start(timeout=PATIENCE)
    return client


def fails(error, call, *args, **options):
    try:
        call(*args, **options)
    except error:
        return
    raise AssertionError(f"{call.__name__}{args} should fail with {error.__name__}")


def wait(event, what):
    assert event.wait(PATIENCE), f"not within {PATIENCE} s: {what}"


def creates(zk):
    assert zk.create("/k", b"root") == "/k"
    assert zk.create("/k/plain", b"data") == "/k/plain"
    assert zk.create("/k/seq-", b"", sequence=True) == "/k/seq-0000000001"
    assert zk.create("/k/seq-", b"", sequence=True) == "/k/seq-0000000002"
    assert zk.create("/k/eph", b"e", ephemeral=True) == "/k/eph"
    assert zk.create("/k/es-", b"", ephemeral=True, sequence=True) == "/k/es-0000000004"
    path, stat = zk.create("/k/with-stat", b"12345", include_data=True)
    assert path == "/k/with-stat" and stat.dataLength == 5 and stat.version == 0
    assert zk.create("/k/deep/er/est", b"", makepath=True) == "/k/deep/er/est"
    assert zk.create("/k/empty") == "/k/empty" and zk.get("/k/empty")[0] == b""
    assert zk.create("/k/ünïcode-节点", "wert-值".encode()) == "/k/ünïcode-节点"
    assert zk.get("/k/ünïcode-节点")[0].decode() == "wert-值"
    fails(NodeExistsError, zk.create, "/k/plain")
    fails(NoNodeError, zk.create, "/none/child")
    fails(NoChildrenForEphemeralsError, zk.create, "/k/eph/child")
    assert zk.get("/k/eph")[1].ephemeralOwner == zk.client_id[0]
    big = bytes(range(256)) * 4000
    zk.create("/k/big", big)
    assert zk.get("/k/big")[0] == big


def reads_and_writes(zk):
    data, stat = zk.get("/k/plain")
    assert data == b"data" and stat.version == 0 and stat.czxid == stat.mzxid
    stat = zk.set("/k/plain", b"more", version=0)
    assert stat.version == 1 and stat.mzxid > stat.czxid
    fails(BadVersionError, zk.set, "/k/plain", b"x", version=0)
    fails(BadVersionError, zk.delete, "/k/plain", version=7)
    fails(NoNodeError, zk.get, "/none")
    fails(NoNodeError, zk.set, "/none", b"")
    fails(NoNodeError, zk.delete, "/none")
    fails(NotEmptyError, zk.delete, "/k/deep")
    assert zk.exists("/none") is None
    assert zk.exists("/k").numChildren == len(zk.get_children("/k"))
    children, stat = zk.get_children("/k", include_data=True)
    assert sorted(children) == sorted(zk.get_children("/k")) and stat.numChildren == len(children)
    assert zk.get_children("/k/deep") == ["er"]
    zk.delete("/k/plain", version=1)
    assert zk.exists("/k/plain") is None
    zk.delete("/k/deep", recursive=True)
    assert zk.exists("/k/deep") is None
    assert zk.sync("/k") == "/k"


def watches(zk, other):
    seen = {name: [] for name in ("born", "data", "children", "gone")}
    arrived = {name: threading.Event() for name in seen}

    def watcher(name):
        def call(event):
            seen[name].append((event.type, event.path))
            arrived[name].set()
        return call

    assert zk.exists("/w", watch=watcher("born")) is None
    other.create("/w", b"0")
    wait(arrived["born"], "the watch of a birth")
    zk.get("/w", watch=watcher("data"))
    zk.get_children("/w", watch=watcher("children"))
    other.set("/w", b"1")
    wait(arrived["data"], "the watch of data")
    other.set("/w", b"2")
    other.create("/w/child")
    wait(arrived["children"], "the watch of children")
    zk.sync("/w")
    assert zk.get("/w")[0] == b"2", "an event comes before what it tells of"
    zk.exists("/w/child", watch=watcher("gone"))
    other.delete("/w/child")
    wait(arrived["gone"], "the watch of a death")
    assert seen == {
        "born": [(EventType.CREATED, "/w")],
        "data": [(EventType.CHANGED, "/w")],
        "children": [(EventType.CHILD, "/w")],
        "gone": [(EventType.DELETED, "/w/child")],
    }, seen


def transactions(zk):
    good = zk.transaction()
    good.create("/t", b"a")
    good.set_data("/t", b"b")
    good.create("/t/child", b"")
    good.check("/t", version=1)
    good.delete("/t/child")
    results = good.commit()
    assert results[0] == "/t" and results[1].version == 1 and results[2] == "/t/child", results
    assert results[3] is True and results[4] is True, results
    assert zk.get("/t")[0] == b"b"
    bad = zk.transaction()
    bad.set_data("/t", b"c")
    bad.check("/t", version=99)
    bad.create("/t/other")
    results = bad.commit()
    kinds = [type(r) for r in results]
    assert kinds == [RolledBackError, BadVersionError, RuntimeInconsistency], results
    assert zk.get("/t")[0] == b"b" and zk.exists("/t/other") is None


def acls(zk, other):
    acl = make_digest_acl("alice", "secret", all=True)
    zk.create("/secret", b"x", acl=[acl])
    fails(NoAuthError, other.get, "/secret")
    fails(NoAuthError, other.set, "/secret", b"")
    fails(NoAuthError, other.create, "/secret/child")
    fails(NoAuthError, other.exists, "/secret")  # since 3.9.3 (ZOOKEEPER-2590)
    other.add_auth("digest", "alice:wrong")
    fails(NoAuthError, other.get, "/secret")
    other.add_auth("digest", "alice:secret")
    other.sync("/secret")
    assert other.get("/secret")[0] == b"x"
    acls, stat = other.get_acls("/secret")
    assert acls == [acl] and stat.aversion == 0
    read_only = make_digest_acl("alice", "secret", read=True, admin=True)
    assert other.set_acls("/secret", [read_only]).aversion == 1
    fails(NoAuthError, other.set, "/secret", b"")
    fails(BadVersionError, other.set_acls, "/secret", [acl], version=0)
    fails(InvalidACLError, other.set_acls, "/secret", [])
    other.set_acls("/secret", [acl], version=1)
    other.delete("/secret")


def in_order(zk):
    zk.create("/order", b"")
    results = [zk.set_async("/order", str(n).encode()) for n in range(1000)]
    reads = zk.get_async("/order")
    versions = [r.get(timeout=PATIENCE).version for r in results]
    assert versions == list(range(1, 1001))
    data, stat = reads.get(timeout=PATIENCE)
    assert (data, stat.version) == (b"999", 1000)


def mixed_in_order(zk):
    zk.create("/mixed", b"")
    pairs = [(zk.set_async("/mixed", str(n).encode()), zk.get_async("/mixed")) for n in range(300)]
    for n, (write, read) in enumerate(pairs):
        written = write.get(timeout=PATIENCE)
        data, stat = read.get(timeout=PATIENCE)
        assert data == str(n).encode(), f"read {n} sees the write before it and none behind it: {data}"
        assert stat == written


def ephemerals_vanish(zk):
    owner = connect()
    owner.create("/gone", b"", ephemeral=True)
    gone = threading.Event()
    zk.sync("/gone")
    assert zk.exists("/gone", watch=lambda event: gone.set()) is not None
    owner.stop()
    owner.close()
    wait(gone, "an ephemeral goes with its session")
    assert zk.exists("/gone") is None


def another_server(zk):
    """The server that the client is connected to dies: the session goes on at another one."""
    before = zk.client_id
    host, port = zk._connection._socket.getpeername()[:2]
    zk.create("/moves", b"", ephemeral=True)
    lost, back, changed = threading.Event(), threading.Event(), threading.Event()

    def listener(state):
        if state == KazooState.SUSPENDED:
            lost.set()
        elif state == KazooState.CONNECTED and lost.is_set():
            back.set()
        elif state == KazooState.LOST:
            raise AssertionError("the session is lost")

    zk.add_listener(listener)
    zk.get("/moves", watch=lambda event: changed.set())
    print(f"kill {host}:{port}", flush=True)
    assert sys.stdin.readline() == "killed\n"
    wait(lost, "the client notices")
    wait(back, "the client is connected again")
    assert zk._connection._socket.getpeername()[1] != port
    assert zk.client_id[0] == before[0], "the session is the same"
    assert zk.retry(zk.get, "/moves")[1].ephemeralOwner == before[0]
    zk.retry(zk.set, "/moves", b"on")
    wait(changed, "the watch is set again by the client and fires")
    zk.remove_listener(listener)


def main():
    zk, other = connect(), connect()
    creates(zk)
    reads_and_writes(zk)
    watches(zk, other)
    transactions(zk)
    acls(zk, other)
    in_order(zk)
    mixed_in_order(zk)
    ephemerals_vanish(zk)
    if SEVERAL:
        another_server(zk)
    for client in (zk, other):
        client.stop()
        client.close()
    print("ok", flush=True)


if __name__ == "__main__":
    main()
