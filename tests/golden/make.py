#!/usr/bin/env python3
"""Makes the golden files of this directory with the original; README.md says how to run it.

Starts a one-member ensemble of Apache ZooKeeper on loopback, talks to it over plain sockets, writes every
byte of the dialogue down, and copies its logs (without padding) and snapshots.
"""
import glob, os, shutil, socket, struct, subprocess, sys, tempfile, time

JARS, OUT = sys.argv[1], sys.argv[2]
PORT, QPORT, EPORT = 32181, 32182, 32183
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # super:test
WORK = tempfile.mkdtemp(prefix="zk-golden-")
DATA = os.path.join(WORK, "data")
os.makedirs(DATA)
open(os.path.join(DATA, "myid"), "w").write("1")
open(os.path.join(WORK, "zoo.cfg"), "w").write(f"""
tickTime=200
initLimit=10
syncLimit=5
dataDir={DATA}
admin.enableServer=false
standaloneEnabled=false
reconfigEnabled=true
extendedTypesEnabled=true
4lw.commands.whitelist=*
preAllocSize=64
server.1=127.0.0.1:{QPORT}:{EPORT}:participant;127.0.0.1:{PORT}
""")
dialogue = open(os.path.join(OUT, "dialogue.txt"), "w")


def note(*words):
    print(*words, file=dialogue, flush=True)


def start():
    log = open(os.path.join(WORK, "server.out"), "a")
    process = subprocess.Popen(
        ["java", f"-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER}",
         "-Dzookeeper.serializeLastProcessedZxid.enabled=true",
         "-cp", f"{JARS}/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain",
         os.path.join(WORK, "zoo.cfg")], stdout=log, stderr=log)
    for _ in range(200):
        if b"Mode: leader" in word("srvr"):
            return process
        time.sleep(0.1)
    raise SystemExit("the server does not lead; see " + WORK)


def stop(process):
    process.terminate()
    process.wait()


def word(text):
    try:
        with socket.create_connection(("127.0.0.1", PORT), 2) as s:
            s.sendall(text.encode())
            out = b""
            while part := s.recv(65536):
                out += part
            return out
    except OSError:
        return b""


def i32(n): return struct.pack(">i", n)
def i64(n): return struct.pack(">q", n)
def buf(b): return i32(-1) if b is None else i32(len(b)) + b
def st(s): return buf(None if s is None else s.encode())
def vec(items): return i32(len(items)) + b"".join(items)
def acl(*entries): return vec([i32(p) + st(s) + st(i) for p, s, i in entries])
def create(path, data=b"d", acl_=None, flags=0):
    return st(path) + buf(data) + (OPEN if acl_ is None else acl_) + i32(flags)
def op(kind, body): return i32(kind) + b"\0" + i32(-1) + body
def multi(*ops): return b"".join(ops) + i32(-1) + b"\1" + i32(-1)


OPEN = acl((31, "world", "anyone"))
CREATE, DELETE, EXISTS, GET, SET, GETACL, SETACL, CHILDREN, SYNC, PING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, CHECKW, REMOVEW = 12, 13, 14, 15, 16, 17, 18
CONTAINER, TTL, MULTIREAD, AUTH, SETWATCHES, EPHEMERALS, ALLCHILDREN = 19, 21, 22, 100, 101, 103, 104
SETWATCHES2, ADDWATCH, WHOAMI, CLOSE = 105, 106, 107, -11


class Client:
    count = 0

    def __init__(self, timeout=30000, session=0, passwd=b"\0" * 16, read_only=b"\0"):
        Client.count += 1
        self.name, self.xid = Client.count, 0
        self.s = socket.create_connection(("127.0.0.1", PORT), 10)
        note("open", self.name)
        answer = self.send(i32(0) + i64(0) + i32(timeout) + i64(session) + buf(passwd) + read_only)
        self.session, self.passwd = struct.unpack(">q", answer[8:16])[0], answer[20:36]

    def recv(self):
        head = self.exactly(4)
        payload = self.exactly(struct.unpack(">i", head)[0])
        note("<", self.name, (head + payload).hex())
        return payload

    def exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.s.recv(n - len(out))
            if not part:
                raise EOFError
            out += part
        return out

    def send(self, payload):
        frame = i32(len(payload)) + payload
        note(">", self.name, frame.hex())
        self.s.sendall(frame)
        return self.recv()

    def do(self, kind, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        answer = self.send(i32(xid) + i32(kind) + body)
        while struct.unpack(">i", answer[:4])[0] == -1:
            answer = self.recv()
        return struct.unpack(">i", answer[12:16])[0], answer[16:]

    def hangup(self):
        note("close", self.name)
        self.s.close()


def writes(a):
    a.do(CREATE, create("/a"))
    a.do(CREATE, create("/a"))  # NODEEXISTS
    a.do(CREATE, create("/none/b"))  # NONODE
    a.do(CREATE, create("/bad/"))  # BADARGUMENTS or NONODE
    a.do(CREATE, create("/flags", flags=9))
    a.do(CREATE2, create("/a/null", None))
    a.do(CREATE2, create("/a/big", bytes(range(256)) * 4))
    a.do(CREATE, create("/a/seq-", flags=2))
    a.do(CREATE2, create("/a/seq-", flags=2))
    a.do(CREATE, create("/e", b"eph", flags=1))
    a.do(CREATE, create("/e/child"))  # NOCHILDRENFOREPHEMERALS
    a.do(CREATE2, create("/eseq-", flags=3))
    a.do(CREATE, create("/zookeeper/quota/mine", b"q"))
    a.do(SET, st("/a") + buf(b"new") + i32(0))
    a.do(SET, st("/a") + buf(b"stale") + i32(0))  # BADVERSION
    a.do(SET, st("/a") + buf(None) + i32(-1))
    a.do(SET, st("/") + buf(b"root") + i32(-1))
    a.do(SET, st("/\u00e9") + buf(b"") + i32(-1))
    a.do(CREATE, create("/\u00e9", "\u00e9".encode()))
    a.do(DELETE, st("/a") + i32(-1))  # NOTEMPTY
    a.do(DELETE, st("/a/null") + i32(0))
    a.do(DELETE, st("/a/null") + i32(0))  # NONODE
    a.do(DELETE, st("/zookeeper") + i32(-1))  # BADARGUMENTS
    a.do(DELETE, st("/e") + i32(7))  # BADVERSION
    a.do(SETACL, st("/a") + acl((1, "world", "anyone"), (31, "ip", "127.0.0.0/8")) + i32(0))
    a.do(SETACL, st("/a") + acl((1, "nosuch", "x")) + i32(-1))  # INVALIDACL
    a.do(SETACL, st("/a") + i32(0) + i32(-1))  # INVALIDACL
    a.do(CREATE, create("/auth", acl_=acl((31, "auth", ""))))  # INVALIDACL
    a.do(AUTH, i32(0) + st("digest") + buf(b"user:secret"), -4)
    a.do(CREATE, create("/auth", acl_=acl((31, "auth", ""), (31, "auth", ""))))
    a.do(SETACL, st("/a") + OPEN + i32(1))


def multis(a):
    a.do(MULTI, multi())
    a.do(MULTI, multi(op(CREATE, create("/m")), op(CREATE2, create("/m/x-", flags=2)),
                      op(CREATE, create("/m/x-", flags=3)), op(SET, st("/m") + buf(b"1") + i32(0)),
                      op(CHECK, st("/m") + i32(1)), op(SET, st("/m") + buf(b"2") + i32(1)),
                      op(CREATE, create("/m/gone")), op(DELETE, st("/m/gone") + i32(0))))
    a.do(MULTI, multi(op(CREATE, create("/m2")), op(CHECK, st("/m") + i32(77)), op(SET, st("/m") + buf(b"9") + i32(-1))))
    a.do(MULTI, multi(op(DELETE, st("/nothing") + i32(-1))))
    a.do(MULTI, multi(op(CREATE, create("/m2")), op(GET, st("/m") + b"\0")))  # mixed: MARSHALLINGERROR
    a.do(CREATE, create("/m/after-", flags=2))
    a.do(MULTIREAD, multi(op(GET, st("/m") + b"\0"), op(CHILDREN, st("/a/big") + b"\0"), op(GET, st("/no") + b"\0")))


def reads(a, b):
    for path in ["/a", "/a/big", "/e", "/", "/no", "/auth", "/\u00e9", "/zookeeper", "/zookeeper/quota/mine"]:
        a.do(GET, st(path) + b"\0")
        a.do(EXISTS, st(path) + b"\0")
        b.do(GETACL, st(path))
    b.do(GET, st("/auth") + b"\0")  # NOAUTH
    b.do(EXISTS, st("/auth") + b"\0")  # NOAUTH
    b.do(CHILDREN, st("/auth") + b"\0")  # NOAUTH
    b.do(SET, st("/auth") + buf(b"x") + i32(-1))  # NOAUTH
    b.do(DELETE, st("/auth") + i32(-1))
    a.do(CREATE, create("/auth", acl_=acl((31, "auth", ""), (1, "ip", "127.0.0.1"))))
    b.do(GETACL, st("/auth"))  # masked
    b.do(CHILDREN, st("/e") + b"\0")
    b.do(CHILDREN2, st("/zookeeper/quota") + b"\0")
    b.do(CHILDREN2, st("/no") + b"\0")
    b.do(SYNC, st("/anything"))
    b.do(PING, b"", -2)
    b.do(WHOAMI)
    b.do(EPHEMERALS, st(None))
    b.do(ALLCHILDREN, st("/a"))
    b.do(ALLCHILDREN, st("/"))


def watches(a, b):
    b.do(EXISTS, st("/w") + b"\1")
    b.do(CHILDREN, st("/no") + b"\1")  # NONODE, no watch
    b.do(ADDWATCH, st("/w") + i32(1))
    b.do(CHECKW, st("/w") + i32(2))
    b.do(CHECKW, st("/w") + i32(1))  # NOWATCHER
    a.do(CREATE, create("/w"))
    b.do(PING, b"", -2)
    b.do(GET, st("/w") + b"\1")
    b.do(CHILDREN, st("/w") + b"\1")
    a.do(CREATE, create("/w/c"))
    b.do(PING, b"", -2)
    a.do(SET, st("/w") + buf(b"2") + i32(-1))
    b.do(PING, b"", -2)
    b.do(GET, st("/w/c") + b"\1")
    b.do(CHILDREN, st("/w/c") + b"\1")
    a.do(DELETE, st("/w/c") + i32(-1))
    b.do(PING, b"", -2)
    b.do(REMOVEW, st("/w") + i32(5))
    b.do(REMOVEW, st("/w") + i32(5))  # NOWATCHER
    a.do(MULTI, multi(op(SET, st("/w") + buf(b"3") + i32(-1)), op(DELETE, st("/w") + i32(-1))))
    b.do(PING, b"", -2)


def main():
    server = start()
    a, b = Client(), Client()
    writes(a)
    multis(a)
    reads(a, b)
    watches(a, b)
    old = Client(read_only=b"")
    old.do(CREATE, create("/of-old", flags=1))
    old.do(CLOSE)
    note("close", old.name)
    short = Client(timeout=400)
    short.do(CREATE, create("/short1", flags=1))
    time.sleep(2)
    note("expired", short.name)
    short.s.close()
    a.do(EXISTS, st("/short1") + b"\0")
    a.do(AUTH, i32(0) + st("digest") + buf(b"super:test"), -4)
    joining = "server.2=127.0.0.1:32185:32186:observer;127.0.0.1:32187"
    a.do(RECONFIG, st(joining) + st(None) + st(None) + i64(-1))
    b.do(GET, st("/m") + b"\1")
    note("words", *(word(w).hex() for w in ["srvr", "ruok", "isro", "conf"]))
    a.hangup()
    b.hangup()
    stop(server)

    server = start()
    note("restart")
    c = Client()
    c.do(CREATE, create("/later"))
    # The original closes a session's live connection on a wrong password, so this comes first.
    wrong = Client(session=b.session, passwd=b"\1" * 16)
    note("close", wrong.name)
    again = Client(session=b.session, passwd=b.passwd)
    again.do(SETWATCHES, i64(1) + vec([st("/m"), st("/gone"), st("/zookeeper")]) + vec([st("/a"), st("/x")]) + vec([st("/a"), st("/gone")]), -8)
    c.do(CREATE, create("/x"))
    again.do(PING, b"", -2)
    again.do(CREATE, create("/again", flags=1))
    again.do(CLOSE)
    note("close", again.name)
    # Kinds that zkctl applies but does not propose yet.
    note("unoffered")
    c.do(CONTAINER, create("/container", flags=4))
    c.do(TTL, create("/ttl", flags=5) + i64(5000000))
    c.do(MULTI, multi(op(CONTAINER, create("/container/c", flags=4)), op(TTL, create("/ttl/t-", flags=6) + i64(77))))
    c.hangup()
    stop(server)
    server = start()
    stop(server)
    for path in sorted(glob.glob(DATA + "/version-2/*")):
        name = os.path.basename(path)
        content = open(path, "rb").read()
        if name.startswith("log."):
            content = content.rstrip(b"\0") if not content.endswith(b"B") else content
        if name.startswith(("log.", "snapshot.")):
            open(os.path.join(OUT, name), "wb").write(content)
    shutil.rmtree(WORK)


main()
