//! `zkctl lint`: reads the files and what lies beside them, shows what the configuration module finds.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::arguments::{Lint, Output};
use super::{err, out, show};
use crate::config::lint::{LintInput, lint};
use crate::config::{Draft, Problem, text_of};
use crate::ops::failure::{Failure, exit};

/// Checks files; answers the exit code.
pub(super) fn run(arguments: &Lint, output: Output) -> u8 {
    let mut inputs = Vec::new();
    for path in &arguments.files {
        let file = path.display().to_string();
        match fs::read(path).map(text_of) {
            Ok(text) => inputs.push(beside(file, text)),
            Err(error) => {
                let failure = Failure::new(exit::USAGE, format!("{file}: {error}"));
                if output == Output::Json {
                    out(&show::failure_json(&failure));
                }
                err(&format!("{failure}\n"));
                return exit::USAGE;
            }
        }
    }
    let report = lint(&inputs);
    let code = if report.errors.is_empty() { 0 } else { exit::INVALID };
    if output == Output::Json {
        let texts = |of: &[Problem]| of.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (errors, warnings) = (texts(&report.errors), texts(&report.warnings));
        let files: Vec<&str> = inputs.iter().map(|i| i.file.as_str()).collect();
        out(&show::json(&json!({ "schema": 1, "files": files, "errors": errors, "warnings": warnings })));
        return code;
    }
    for problem in &report.errors {
        out(&format!("error: {problem}\n"));
    }
    for problem in &report.warnings {
        out(&format!("warning: {problem}\n"));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let files = count(inputs.len(), "file");
    let (errors, warnings) = (count(report.errors.len(), "error"), count(report.warnings.len(), "warning"));
    out(&format!("{files}: {errors}, {warnings}\n"));
    code
}

/// The dynamic file and myid, where they can be read from here.
fn beside(file: String, text: String) -> LintInput {
    let draft = Draft::read(&file, &text, &[]);
    let my_id = draft.data_dir().and_then(|dir| fs::read_to_string(Path::new(dir).join("myid")).ok());
    let dynamic = draft.dynamic_config_file().map(str::to_owned);
    let dynamic = dynamic.and_then(|name| Some((name.clone(), fs::read(&name).ok().map(text_of)?)));
    LintInput { file, text, my_id, dynamic }
}
