//! Where a server's words go: stderr, or files rotated by day and size, with bounded retention.
//!
//! A restart appends; nothing is wiped. Deliberately absent: what is said (the server's).

use crate::server::Level;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// A file is left for the next one when it has grown to this.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// So many files are kept beside the current one.
const FILES_KEPT: usize = 14;
const NAME: &str = "zkctl.log";

/// Says something at a level.
pub(super) fn log(level: Level, text: &str) {
    match level {
        Level::Debug => tracing::debug!("{text}"),
        Level::Info => tracing::info!("{text}"),
        Level::Warn => tracing::warn!("{text}"),
    }
}

/// Says that something should not be.
pub(super) fn warn(text: &str) {
    log(Level::Warn, text);
}

/// Sends everything said from now on to `dir`, or to stderr.
pub(super) fn start(dir: Option<&Path>) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("ZKCTL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match dir {
        None => {
            let colour = io::stderr().is_terminal();
            let _ = builder.with_ansi(colour).with_writer(io::stderr).try_init();
        }
        Some(dir) => {
            fs::create_dir_all(dir)?;
            let rotating = Rotating { inner: Mutex::new(Current::open(dir)?) };
            let _ = builder.with_ansi(false).with_writer(rotating).try_init();
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Rotating {
    inner: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    dir: PathBuf,
    file: File,
    bytes: u64,
    day: u64,
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400)
}

impl Current {
    fn open(dir: &Path) -> io::Result<Current> {
        let path = dir.join(NAME);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let meta = file.metadata()?;
        // A file begun on another day is set aside at the first word of this one.
        let written = meta.modified().ok().and_then(|m| m.duration_since(UNIX_EPOCH).ok());
        let day = written.filter(|_| meta.len() > 0).map_or(today(), |d| d.as_secs() / 86_400);
        Ok(Current { dir: dir.to_path_buf(), file, bytes: meta.len(), day })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && (self.day != today() || self.bytes + bytes.len() as u64 > FILE_BYTES_MAX) {
            self.rotate()?;
        }
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        fs::rename(self.dir.join(NAME), self.dir.join(format!("{NAME}.{stamp}")))?;
        *self = Current::open(&self.dir)?;
        self.day = today();
        let mut old: Vec<_> = fs::read_dir(&self.dir)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('.')))
            .collect();
        old.sort();
        let surplus = old.len().saturating_sub(FILES_KEPT);
        for name in &old[..surplus] {
            fs::remove_file(self.dir.join(name))?;
        }
        Ok(())
    }
}

struct Handle<'a>(&'a Rotating);

impl Write for Handle<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut current = self.0.inner.lock().map_err(|_| io::Error::other("the log's writer died"))?;
        current.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Handle<'a>;

    fn make_writer(&'a self) -> Handle<'a> {
        Handle(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_rotate_by_size_and_old_ones_go() {
        let dir = std::env::temp_dir().join(format!("zkctl-logging-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        for n in 0..20 {
            fs::write(dir.join(format!("{NAME}.{n:03}")), b"old").unwrap();
        }
        let mut current = Current::open(&dir).unwrap();
        current.write(b"first\n").unwrap();
        current.bytes = FILE_BYTES_MAX;
        current.write(b"second\n").unwrap();
        assert_eq!(fs::read(dir.join(NAME)).unwrap(), b"second\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), FILES_KEPT + 1);
        let reopened = Current::open(&dir).unwrap();
        assert_eq!(reopened.bytes, 7, "a restart appends");
        fs::remove_dir_all(&dir).unwrap();
    }
}
