//! The power of a mounted ext4: `FS_IOC_SHUTDOWN` without a flush of the journal.
//!
//! Whatever was not synced is lost with it, directory entries too, and every later operation fails. The
//! ioctl is Python's to call: it would be unsafe code here. One helper serves many cuts, so that a cut
//! comes when it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Reads directories, a line each, and answers each with a line.
const PROGRAM: &str = "
import fcntl, os, struct, sys
FS_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
for line in sys.stdin:
    place = os.open(line.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(place, FS_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
    os.close(place)
    print('off', flush=True)
";

/// The helper.
#[derive(Debug)]
pub(crate) struct PowerSwitch {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl PowerSwitch {
    /// Starts it.
    pub(crate) fn new() -> PowerSwitch {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        PowerSwitch { child, ask, answers }
    }

    /// Switches these file systems off, one right behind the other.
    #[track_caller]
    pub(crate) fn off(&mut self, mounted_at: &[&Path]) {
        let lines: String = mounted_at.iter().map(|p| format!("{}\n", p.display())).collect();
        self.ask.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
        for place in mounted_at {
            let mut answer = String::new();
            self.answers.read_line(&mut answer).unwrap();
            assert_eq!(answer, "off\n", "{} was not switched off", place.display());
        }
    }
}

impl Drop for PowerSwitch {
    fn drop(&mut self) {
        drop(self.ask.take());
        let _ = self.child.wait();
    }
}
