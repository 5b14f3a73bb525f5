//! What the operator's side calls on hosts: JSON in, JSON out; and the verbs behind the drop-in scripts.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use super::arguments::Host;
use super::{block_on, err, out};
use crate::ops::host::{self, DropIn, Request};
use crate::ops::render::SCRIPTS;

fn print(value: &impl Serialize) -> u8 {
    match serde_json::to_string(value) {
        Ok(text) => {
            out(&format!("{text}\n"));
            0
        }
        Err(error) => {
            err(&format!("zkctl: {error}\n"));
            1
        }
    }
}

fn refuse(why: &str) -> u8 {
    err(&format!("zkctl: {why}\n"));
    2
}

/// `zkctl probe REQUEST`.
pub(super) fn probe(request: &str) -> u8 {
    let request = match serde_json::from_str(request) {
        Ok(request) => request,
        Err(error) => return refuse(&format!("the request is not understood: {error}")),
    };
    match block_on(async { host::probe(&request).await }) {
        Ok(facts) => print(&facts),
        Err(error) => refuse(&error.to_string()),
    }
}

/// `zkctl host ...`.
pub(super) fn host(verb: &Host) -> u8 {
    match verb {
        Host::Request => request(),
        Host::Scripts { directory } => scripts(directory),
        Host::DropIn { verb, config, log_dir } => {
            let verb = match verb.as_str() {
                "start" => DropIn::Start,
                "stop" => DropIn::Stop,
                "status" => DropIn::Status,
                "print-cmd" => DropIn::PrintCmd,
                other => return refuse(&format!("{other} is no verb of zkServer.sh")),
            };
            match block_on(host::drop_in(verb, config, log_dir.as_deref())) {
                Ok((text, code)) => {
                    out(&text);
                    code
                }
                Err(error) => refuse(&error.to_string()),
            }
        }
    }
}

fn request() -> u8 {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return refuse(&error.to_string());
    }
    let request: Request = match serde_json::from_str(&text) {
        Ok(request) => request,
        Err(error) => return refuse(&format!("the request is not understood: {error}")),
    };
    match block_on(host::answer(request)) {
        Ok(response) => print(&response),
        Err(error) => refuse(&error.to_string()),
    }
}

fn scripts(directory: &Path) -> u8 {
    for (name, text) in SCRIPTS {
        let path = directory.join(name);
        let mode = std::fs::Permissions::from_mode(0o755);
        let written = std::fs::write(&path, text).and_then(|()| std::fs::set_permissions(&path, mode));
        if let Err(error) = written {
            return refuse(&format!("{}: {error}", path.display()));
        }
    }
    0
}
