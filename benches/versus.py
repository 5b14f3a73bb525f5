#!/usr/bin/env python3
"""Three zkctl servers and three Apache ZooKeeper servers under the same loads, interleaved, in one run.

    benches/versus.py [--binary target/release/zkctl] [--rounds 5] [--only loads,failover]

Apache's jars come from ZK_CLASSPATH (a Java class path, such as '/opt/zookeeper/lib/*'), java from
JAVA or the PATH; without ZK_CLASSPATH zkctl is measured alone. With `--other PROGRAM` another build of zkctl
stands in Apache's place: what a change costs. Each figure is the median of its rounds,
each ratio the median of the ratios of neighbouring runs. A run with errors is void: it ends the program.
"""

import argparse
import ctypes
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120
SHAPES = [(conns, depth) for conns in (1, 64) for depth in (1, 16)]
SECTIONS = ("idle", "loads", "failover", "restart", "million")
# The same for both, but for what each must be told.
CONFIG = """tickTime=2000
initLimit=10
syncLimit=5
maxClientCnxns=0
4lw.commands.whitelist=*
dataDir={data}
clientPort={client}
"""


def dies_with_us():
    """A server must not outlive this program, however it ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_ports(count):
    """Ports nobody has, below the range that outgoing connections take theirs from."""
    found = set()
    while len(found) < count:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.add(port)
            except OSError:
                pass
    return list(found)


def word(port, text):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(text.encode())
            answer = b""
            while piece := link.recv(65536):
                answer += piece
            return answer.decode()
    except OSError:
        return ""


class Server:
    def __init__(self, ensemble, sid, ports, members):
        self.ensemble, self.sid, self.port = ensemble, sid, ports[0]
        self.dir = ensemble.dir / str(sid)
        data = self.dir / "data"
        data.mkdir(parents=True)
        (data / "myid").write_text(f"{sid}\n")
        text = CONFIG.format(data=data, client=self.port) + members
        if ensemble.apache:
            text += "admin.enableServer=false\n"
        (self.dir / "zoo.cfg").write_text(text)
        self.process = None

    def start(self):
        config = str(self.dir / "zoo.cfg")
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.ensemble.command + [config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.dir, preexec_fn=dies_with_us)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def mode(self):
        for line in word(self.port, "srvr").splitlines():
            if line.startswith("Mode: "):
                return line[6:]
        if self.process and self.process.poll() is not None:
            raise SystemExit(f"{self.dir}: the server ended:\n{(self.dir / 'log').read_text()[-2000:]}")
        return None

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Ensemble:
    def __init__(self, name, base, command, apache):
        self.name, self.command, self.apache = name, command, apache
        self.dir = base / name
        ports = [free_ports(3) for _ in range(3)]
        members = "".join(
            f"server.{sid}=127.0.0.1:{quorum}:{election}\n" for sid, (_, quorum, election) in enumerate(ports, 1))
        self.servers = [Server(self, sid, p, members) for sid, p in enumerate(ports, 1)]

    def start(self):
        began = time.monotonic()
        for server in self.servers:
            server.start()
        self.wait()
        return time.monotonic() - began

    def wait(self):
        """Until all serve, one of them as leader."""
        deadline = time.monotonic() + PATIENCE
        while True:
            modes = [s.mode() for s in self.servers]
            if all(modes) and modes.count("leader") == 1:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: {modes} after {PATIENCE} s")
            time.sleep(0.005)

    def kill(self):
        for server in self.servers:
            server.kill()

    def leader(self):
        return next(s for s in self.servers if s.mode() == "leader")

    def hosts(self):
        return ",".join(f"127.0.0.1:{s.port}" for s in self.servers)

    def bench(self, binary, *flags, pids=True, errors_allowed=False):
        command = self.bench_command(binary, *flags)
        if pids:
            command += ["--server-pids", ",".join(str(s.process.pid) for s in self.servers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        report = json.loads(done.stdout)
        if report["errors"] and not errors_allowed:
            raise SystemExit(f"void: {self.name} {flags}: {report['errors']}")
        return report

    def bench_command(self, binary, *flags):
        return [binary, "bench", "-o", "json", *map(str, flags), self.hosts()]


class Versus:
    def __init__(self, options, base):
        self.options = options
        self.binary = str(Path(options.binary).resolve())
        self.ensembles = [Ensemble("zkctl", base, [self.binary, "serve"], False)]
        jars = os.environ.get("ZK_CLASSPATH")
        if options.other:
            other = str(Path(options.other).resolve())
            self.ensembles.append(Ensemble("other", base, [other, "serve"], False))
        elif jars:
            java = [os.environ.get("JAVA", "java"), "-Xmx1g", "-Xms256m", "-cp", jars,
                    "-Dzookeeper.4lw.commands.whitelist=*"]
            main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            self.ensembles.append(Ensemble("apache", base, java + [main], True))
        # What zkctl is measured beside, if anything.
        self.rival = next((e.name for e in self.ensembles[1:]), None)
        self.results = []

    def both(self, turn):
        """The ensembles, in an order that changes with each round."""
        return self.ensembles if turn % 2 == 0 else self.ensembles[::-1]

    def rounds(self, count, measure):
        """`measure` gives a dictionary of figures; per ensemble a list of them."""
        found = {e.name: [] for e in self.ensembles}
        for turn in range(count):
            for ensemble in self.both(turn):
                found[ensemble.name].append(measure(ensemble))
        return found

    def show(self, what, unit, found, key, higher_is_better, digits=2):
        """One line; `higher_is_better` is None where a comparison says nothing."""
        ours = [f[key] for f in found["zkctl"]]
        row = {"what": what, "unit": unit, "zkctl": statistics.median(ours), "rounds": {"zkctl": ours}}
        line = f"{what:<34}{unit:<9}{row['zkctl']:>12,.{digits}f}"
        rival = self.rival
        if rival:
            theirs = [f[key] for f in found[rival]]
            pairs = zip(ours, theirs) if higher_is_better else zip(theirs, ours)
            ratios = [a / b for a, b in pairs if b and higher_is_better is not None]
            row[rival] = statistics.median(theirs)
            row["rounds"][rival] = theirs
            row["better"] = statistics.median(ratios) if ratios else None
            line += f"{row[rival]:>12,.{digits}f}"
            line += f"{row['better']:>9.2f}x" if ratios else f"{'-':>10}"
        self.results.append(row)
        print(line, flush=True)

    def header(self, title):
        print(f"\n{title}\n{'':<43}{'zkctl':>12}{self.rival or '':>12}{'better':>10}", flush=True)

    def idle(self):
        self.header("idle servers, nothing stored")
        self.show("resident, the largest of three", "MiB",
                  self.rounds(1, lambda e: {"v": max(s.resident_mib() for s in e.servers)}), "v", False, 1)

    def warm(self):
        """Compilers need their time, and both shall begin with segments on disk."""
        for ensemble in self.ensembles:
            for mix in ("mixed", "create"):
                ensemble.bench(self.binary, "-m", mix, "-c", 32, "-p", 8, "-t", self.options.warm)

    def loads(self):
        seconds = self.options.time
        for mix, (conns, depth) in itertools.product(self.options.loads.split(","), SHAPES):
            self.header(f"{mix}, 1 KB, {conns} connections x {depth} in flight")
            flags = ("-m", mix, "-c", conns, "-p", depth, "-t", seconds, "--warm-up", 1)
            found = self.rounds(self.options.rounds, lambda e: self.figures(e.bench(self.binary, *flags)))
            self.show("throughput", "ops/s", found, "rate", True, 0)
            self.show("latency p50", "ms", found, "p50", False, 3)
            self.show("latency p99", "ms", found, "p99", False, 3)
            self.show("CPU of three servers, per 100k", "s", found, "cpu", False, 3)
            self.show("CPU of the generator, per 100k", "s", found, "own", None, 3)

    @staticmethod
    def figures(report):
        latency = report["latency"]
        return {"rate": report["per_second"], "p50": latency["p50"], "p99": latency["p99"],
                "cpu": report["servers_per_100k"], "own": report["generator_per_100k"]}

    def gap(self, ensemble):
        """kill -9 of the leader under one synchronous writer: its longest wait, in milliseconds."""
        ensemble.wait()
        leader = ensemble.leader()
        flags = ("-m", "set", "-c", 1, "-p", 1, "-t", self.options.gap_time, "--warm-up", 0)
        load = subprocess.Popen(ensemble.bench_command(self.binary, *flags), stdout=subprocess.PIPE)
        time.sleep(1 + random.random() / 2)
        leader.kill()
        answer, _ = load.communicate()
        if load.returncode != 0:
            raise SystemExit(f"void: {ensemble.name}: the load failed")
        report = json.loads(answer)
        if set(report["errors"]) - {"CONNECTIONLOSS"}:
            raise SystemExit(f"void: {ensemble.name}: {report['errors']}")
        leader.start()
        ensemble.wait()
        return {"v": report["longest_pause"]}

    def failover(self, title="leader killed with -9, nothing stored"):
        self.header(title)
        found = self.rounds(self.options.kills, self.gap)
        self.show(f"to the next write, of {self.options.kills}", "ms", found, "v", False, 0)
        worst = {name: [{"v": max(f["v"] for f in all_)}] for name, all_ in found.items()}
        self.show("the worst of them", "ms", worst, "v", False, 0)

    @staticmethod
    def again(ensemble):
        ensemble.kill()
        return {"v": ensemble.start() * 1000}

    def restart(self, title="all three killed with -9 and started, nothing stored"):
        self.header(title)
        self.show("until all serve", "ms", self.rounds(self.options.rounds, self.again), "v", False, 0)

    def million(self):
        count = self.options.znodes
        self.header(f"{count:,} znodes of 100 bytes")
        flags = ("-m", "create", "-s", 100, "-c", 64, "-p", 16, "-n", count, "--warm-up", 0, "--keep")
        found = self.rounds(1, lambda e: self.figures(e.bench(self.binary, *flags)))
        self.show("made by creates", "znodes/s", found, "rate", True, 0)
        self.show("resident, the largest of three", "MiB",
                  self.rounds(1, lambda e: {"v": max(s.resident_mib() for s in e.servers)}), "v", False, 0)
        self.failover(f"leader killed with -9, {count:,} znodes")
        self.restart(f"all three killed with -9 and started, {count:,} znodes")

    def run(self):
        for ensemble in self.ensembles:
            print(f"{ensemble.name}: three servers serve after {ensemble.start() * 1000:.0f} ms", flush=True)
            version = word(ensemble.servers[0].port, "srvr").splitlines()[0]
            print(f"{ensemble.name}: {version}", flush=True)
        wanted = self.options.only.split(",")
        for section in SECTIONS:
            if section in wanted:
                if section == "loads":
                    self.warm()
                getattr(self, section)()
        if self.options.json:
            Path(self.options.json).write_text(json.dumps(self.results, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/zkctl")
    parser.add_argument("--other", metavar="PROGRAM", help="another build of zkctl, instead of Apache ZooKeeper")
    parser.add_argument("--loads", default="set,get,create,mixed", help="what to ask for in the loads")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each load on each ensemble")
    parser.add_argument("--time", type=float, default=5, help="seconds that a run measures")
    parser.add_argument("--warm", type=float, default=15, help="seconds of load before measuring, twice")
    parser.add_argument("--kills", type=int, default=20, help="leaders killed on each ensemble")
    parser.add_argument("--gap-time", type=float, default=5, help="seconds of load around each kill")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(SECTIONS), help="of: " + ", ".join(SECTIONS))
    parser.add_argument("--json", help="write all figures there too")
    return parser.parse_args()


def main():
    options = arguments()
    unknown = set(options.only.split(",")) - set(SECTIONS)
    if unknown:
        raise SystemExit(f"no such section: {', '.join(sorted(unknown))}")
    base = ROOT / "target/versus" / str(os.getpid())
    base.mkdir(parents=True)
    versus = Versus(options, base)
    try:
        versus.run()
    finally:
        for ensemble in versus.ensembles:
            ensemble.kill()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
