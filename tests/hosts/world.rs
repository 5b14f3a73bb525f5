//! Hosts for tests: network namespaces that have no way out, each with its own sshd, host key, /data and
//! /run; and an operator in a namespace of its own, with its own ~/.ssh.
//!
//! Everything is named after this process, so that a later run finds and removes what a killed one left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const PREFIX: &str = "zkt";
/// Accounts of a host's own count from here.
const FIRST_UID: u32 = 4242;
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Hosts and operator.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    hosts: Vec<Host>,
    made: Vec<PathBuf>,
    _turn: MutexGuard<'static, ()>,
}

struct Host {
    name: String,
    namespace: String,
    /// The namespace whose bridge it is on.
    lan: String,
    data_mb: u32,
    sshd: Option<Child>,
    others: Vec<Child>,
}

/// What the operator's command left behind.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Done {
    pub(crate) fn both(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Done {
        assert_eq!(self.code, code, "{}", self.both());
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Done {
        assert!(self.stdout.contains(part) || self.stderr.contains(part), "{part} in\n{}", self.both());
        self
    }
}

/// The program that the operator types: the one just built, or a release build to be measured.
pub(crate) fn program() -> String {
    std::env::var("ZKCTL_TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_zkctl").to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

#[track_caller]
fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Hosts can only be made by root, with the programs that `tests/install-deps` installs.
#[track_caller]
fn require_what_hosts_need() {
    let root = must("id", &["-u"]).trim() == "0";
    let places = ["/usr/bin", "/usr/sbin", "/bin"];
    let has = |tool: &str| places.iter().any(|place| Path::new(place).join(tool).exists());
    let tools = ["ip", "ssh", "ssh-keygen", "unshare", "sshd", "sudo"].into_iter().all(has);
    assert!(root && tools, "needs root, iproute2, openssh-server and sudo: run tests/install-deps as root");
}

/// Waits for a state; fails, naming it, when it does not come.
#[track_caller]
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pids_in(namespace: &str) -> Vec<u32> {
    let output = run("ip", &["netns", "pids", namespace]);
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|l| l.trim().parse().ok()).collect()
}

fn end(namespace: &str) {
    for _ in 0..50 {
        let pids = pids_in(namespace);
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            run("kill", &["-9", &pid.to_string()]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    run("ip", &["netns", "del", namespace]);
}

/// Removes what killed runs left: namespaces named after processes that are gone.
fn sweep() {
    let listed = must("ip", &["netns", "list"]);
    for namespace in listed.lines().filter_map(|l| l.split_whitespace().next()) {
        let Some(owner) = namespace.strip_prefix(&format!("{PREFIX}-")).and_then(|r| r.split('-').next())
        else {
            continue;
        };
        let gone = owner.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if gone || owner == std::process::id().to_string() {
            end(namespace);
        }
    }
}

impl World {
    /// Hosts by name and address; `data_mb` bounds /data.
    pub(crate) fn new(hosts: &[(&str, &str, u32)]) -> World {
        require_what_hosts_need();
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sweep();
        let dir = std::env::temp_dir().join(format!("{PREFIX}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("ssh")).unwrap();
        let mut made = Vec::new();
        for place in ["/data", "/root/.ssh"] {
            if !Path::new(place).exists() {
                fs::create_dir_all(place).unwrap();
                made.push(place.into());
            }
        }
        let mut world = World { dir, hosts: Vec::new(), made, _turn: turn };
        must("ip", &["netns", "add", &world.operator()]);
        world.ip(&world.operator(), &["link", "set", "lo", "up"]);
        world.add_bridge(&world.operator(), "192.168.10.1/24");
        must("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &world.path("ssh/id_ed25519")]);
        for (name, address, data_mb) in hosts {
            world.add_host(name, address, *data_mb);
        }
        world
    }

    fn ip(&self, namespace: &str, arguments: &[&str]) {
        must("ip", &[&["-n", namespace], arguments].concat());
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn operator(&self) -> String {
        format!("{PREFIX}-{}-op", std::process::id())
    }

    fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|h| h.name == name).unwrap()
    }

    fn add_bridge(&self, namespace: &str, address: &str) {
        self.ip(namespace, &["link", "add", "br0", "type", "bridge"]);
        self.ip(namespace, &["addr", "add", address, "dev", "br0"]);
        self.ip(namespace, &["link", "set", "br0", "up"]);
    }

    /// Adds a host to the operator's network and starts its sshd.
    pub(crate) fn add_host(&mut self, name: &str, address: &str, data_mb: u32) {
        self.add_host_on(self.operator(), name, address, data_mb);
    }

    /// Gives a host a network of its own, where it has `address`, and others behind it.
    pub(crate) fn add_hosts_behind(&mut self, gate: &str, address: &str, hosts: &[(&str, &str, u32)]) {
        let lan = self.host(gate).namespace.clone();
        self.add_bridge(&lan, address);
        for (name, address, data_mb) in hosts {
            self.add_host_on(lan.clone(), name, address, *data_mb);
        }
    }

    fn add_host_on(&mut self, lan: String, name: &str, address: &str, data_mb: u32) {
        let namespace = format!("{PREFIX}-{}-{name}", std::process::id());
        must("ip", &["netns", "add", &namespace]);
        must(
            "ip",
            &[
                "link", "add", name, "netns", &lan, "type", "veth", "peer", "name", "eth0", "netns",
                &namespace,
            ],
        );
        self.ip(&lan, &["link", "set", name, "master", "br0"]);
        self.ip(&lan, &["link", "set", name, "up"]);
        self.ip(&namespace, &["link", "set", "lo", "up"]);
        self.ip(&namespace, &["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        self.ip(&namespace, &["link", "set", "eth0", "up"]);
        self.hosts.push(Host { name: name.into(), namespace, lan, data_mb, sshd: None, others: Vec::new() });
        self.new_host_key(name);
        self.start_sshd(name);
    }

    /// Gives a host another key; its sshd takes it at its next start.
    pub(crate) fn new_host_key(&self, name: &str) {
        let key = self.path(&format!("{name}.key"));
        let _ = fs::remove_file(&key);
        let _ = fs::remove_file(format!("{key}.pub"));
        must("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
        let config = format!(
            "HostKey {key}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nStrictModes no\nMaxStartups 100\n",
            self.path(&format!("{name}.authorized"))
        );
        fs::write(self.path(&format!("{name}.sshd")), config).unwrap();
        fs::copy(self.path("ssh/id_ed25519.pub"), self.path(&format!("{name}.authorized"))).unwrap();
    }

    /// Gives a host accounts of its own: who logs in as `operator` may become root without a password.
    pub(crate) fn add_accounts(&self, name: &str, operator: &str, others: &[&str]) {
        let users = || [operator].into_iter().chain(others.iter().copied()).zip(FIRST_UID..);
        let lines =
            |line: &dyn Fn(&str, u32) -> String| users().map(|(u, id)| line(u, id)).collect::<String>();
        let passwd = lines(&|user, id| format!("{user}:x:{id}:{id}::/tmp:/bin/sh\n"));
        let added = [
            ("/etc/passwd", passwd),
            ("/etc/group", lines(&|user, id| format!("{user}:x:{id}:\n"))),
            ("/etc/shadow", lines(&|user, _| format!("{user}:*:19000:0:99999:7:::\n"))),
            ("/etc/sudoers", format!("{operator} ALL=(ALL) NOPASSWD: ALL\n")),
        ];
        for (file, text) in added {
            let own = self.path(&format!("{name}{}", file.replace('/', "-")));
            self.on(name, &format!("cp -p {file} {own} && chmod u+w {own} && printf %s '{text}' >>{own}"));
            let mode = if file == "/etc/sudoers" { "440" } else { "644" };
            self.on(name, &format!("chmod {mode} {own} && mount --bind {own} {file}"));
        }
    }

    /// Moves the operator's key away from where ssh looks by itself; answers where it is then.
    pub(crate) fn move_key(&self) -> String {
        fs::create_dir_all(self.dir.join("keys")).unwrap();
        fs::rename(self.dir.join("ssh/id_ed25519"), self.dir.join("keys/deploy")).unwrap();
        fs::remove_file(self.dir.join("ssh/id_ed25519.pub")).unwrap();
        self.path("keys/deploy")
    }

    /// Lets nobody in any more.
    pub(crate) fn forget_key(&self, name: &str) {
        fs::write(self.path(&format!("{name}.authorized")), "").unwrap();
    }

    /// A host's own view of the file system, kept by its sshd; a later sshd joins the first one's.
    pub(crate) fn start_sshd(&mut self, name: &str) {
        let (namespace, data_mb, earlier) = {
            let host = self.host(name);
            (host.namespace.clone(), host.data_mb, pids_in(&host.namespace).first().copied())
        };
        let (config, log) = (self.path(&format!("{name}.sshd")), self.path(&format!("{name}.sshd.log")));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace]);
        if let Some(pid) = earlier {
            command.args([
                "nsenter",
                "-m",
                "-t",
                &pid.to_string(),
                "--",
                "/usr/sbin/sshd",
                "-D",
                "-e",
                "-f",
                &config,
            ]);
        } else {
            let script = format!(
                "mount --make-rprivate / && mount -t tmpfs -o size={data_mb}m data /data && mount -t tmpfs run /run && \
                 mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f \"$1\""
            );
            command.args(["unshare", "-m", "--", "sh", "-c", &script, "sh", &config]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        until(&format!("sshd of {name} listens"), || self.listens(name, 22));
        self.hosts.iter_mut().find(|h| h.name == name).unwrap().sshd = Some(child);
    }

    /// Stops a host's sshd; its servers go on.
    pub(crate) fn stop_sshd(&mut self, name: &str) {
        let host = self.hosts.iter_mut().find(|h| h.name == name).unwrap();
        if let Some(mut sshd) = host.sshd.take() {
            sshd.kill().unwrap();
            sshd.wait().unwrap();
        }
    }

    /// Whether something listens on a port of a host.
    pub(crate) fn listens(&self, name: &str, port: u16) -> bool {
        let output = run("ip", &["netns", "exec", &self.host(name).namespace, "cat", "/proc/net/tcp"]);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .any(|l| l.contains(&format!(":{port:04X} 00000000:0000 0A")))
    }

    /// Cuts a host off, or connects it again.
    pub(crate) fn cut(&self, name: &str, cut: bool) {
        self.ip(&self.host(name).lan, &["link", "set", name, if cut { "down" } else { "up" }]);
    }

    fn enter(&self, name: &str, script: &str) -> Command {
        let host = self.host(name);
        let pid = host.sshd.as_ref().unwrap().id();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &host.namespace, "nsenter", "-m", "-t", &pid.to_string(), "--"]);
        command.args(["bash", "-c", script]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a script on a host; answers what it printed.
    #[track_caller]
    pub(crate) fn on(&self, name: &str, script: &str) -> String {
        let output = self.enter(name, script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {script}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts something on a host that ends with the host.
    pub(crate) fn start_on(&mut self, name: &str, script: &str) {
        let child = self.enter(name, script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.hosts.iter_mut().find(|h| h.name == name).unwrap().others.push(child);
    }

    /// What a host's server says to a four-letter word.
    pub(crate) fn word(&self, name: &str, word: &str) -> String {
        self.on(name, &format!("exec 3<>/dev/tcp/127.0.0.1/2181; printf {word} >&3; cat <&3"))
    }

    /// A command at the operator's place, in the operator's directory.
    pub(crate) fn operator_command(&self, words: &[&str]) -> Command {
        let script = "mount --make-rprivate / && mount --bind \"$1\" /root/.ssh && cd \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.operator(), "unshare", "-m", "--", "sh", "-c", script, "sh"]);
        command.args([&self.path("ssh"), &self.path("")]);
        command.args(words);
        command.env_remove("ZKCTL_INVENTORY").env("HOME", "/root").env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `zkctl` as the operator types it.
    pub(crate) fn zkctl(&self, line: &str) -> Done {
        let program = program();
        let words: Vec<&str> = [program.as_str()].into_iter().chain(line.split(' ')).collect();
        let begun = Instant::now();
        let output = self.operator_command(&words).output().unwrap();
        let done = Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        };
        println!("$ zkctl {line}   ({} ms)\n{}", done.took.as_millis(), done.both());
        done
    }

    /// Puts a file into the operator's directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            end(&host.namespace);
            for child in host.sshd.iter_mut().chain(&mut host.others) {
                let _ = child.wait();
            }
        }
        end(&self.operator());
        let _ = fs::remove_dir_all(&self.dir);
        // Removing a directory takes away what other runs have mounted there.
        if !must("ip", &["netns", "list"]).lines().any(|l| l.starts_with(&format!("{PREFIX}-"))) {
            for place in &self.made {
                let _ = fs::remove_dir(place);
            }
        }
    }
}
