//! A file system of its own for each server: ext4 in an image file on a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An image and where it is mounted.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    at: PathBuf,
    mounted: bool,
}

/// Runs a program that must succeed.
#[track_caller]
fn run(program: &str, arguments: &[&Path]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (tests/install-deps installs it): {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}, as root: {said}");
}

impl Image {
    /// A fresh file system of this size, mounted at a directory that is made.
    #[track_caller]
    pub(crate) fn fresh(file: PathBuf, at: PathBuf, bytes: u64) -> Image {
        fs::create_dir_all(&at).unwrap();
        let mut image = Image { file, at, mounted: false };
        image.format(bytes);
        image
    }

    /// Makes the file system anew, empty, and mounts it.
    #[track_caller]
    pub(crate) fn format(&mut self, bytes: u64) {
        self.unmount();
        let _ = fs::remove_file(&self.file);
        File::create(&self.file).unwrap().set_len(bytes).unwrap();
        let options = ["-q", "-F", "-m0", "-b4096", "-Enodiscard,lazy_itable_init=1"].map(Path::new);
        run("mkfs.ext4", &[&options[..], &[&self.file]].concat());
        self.mount();
    }

    /// Mounts it, after a look at its journal as at any start of a machine.
    #[track_caller]
    pub(crate) fn mount(&mut self) {
        // Without barriers: the device is a file whose cache outlives the cut, so only what the file
        // system itself had not written yet can be lost, and the machine's own disk is left in peace.
        let options = Path::new("loop,noatime,nobarrier");
        run("mount", &["-text4".as_ref(), "-o".as_ref(), options, &self.file, &self.at]);
        self.mounted = true;
    }

    /// Unmounts it; nothing may have a file open there.
    #[track_caller]
    pub(crate) fn unmount(&mut self) {
        if std::mem::take(&mut self.mounted) {
            run("umount", &[&self.at]);
        }
    }

    /// Where it is mounted.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a test that fails may leave a server behind for a moment. The loop device goes along.
            let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
        }
    }
}
