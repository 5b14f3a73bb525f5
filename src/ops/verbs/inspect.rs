//! Verbs that change nothing: `status`, `render`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Context;
use crate::ops::failure::{Failure, exit};
use crate::ops::remote::Fleet;
use crate::ops::render::Renderer;
use crate::ops::status::{Status, status};

/// A dead host, or a server that does not answer, may cost two seconds, starting and showing included.
const SURVEY: Duration = Duration::from_millis(1800);

/// `status`: everything is asked in parallel.
pub async fn show(context: &Context) -> Result<Status, Failure> {
    let (_, inventory) = context.load()?;
    let (fleet, views) = Fleet::survey(&inventory.ensemble, SURVEY).await;
    fleet.close().await;
    Ok(status(&inventory.ensemble, &views))
}

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Node and file name, as a relative path.
    pub name: PathBuf,
    /// Its content.
    pub content: String,
}

/// `render`: every file of every node, written below a directory if one is named.
pub fn render(
    context: &Context,
    templates: Option<&Path>,
    to: Option<&Path>,
) -> Result<Vec<Rendering>, Failure> {
    let (_, inventory) = context.load()?;
    let ensemble = &inventory.ensemble;
    let invalid = |e: crate::ops::render::RenderError| Failure::new(exit::INVALID, e.to_string());
    let renderer = Renderer::new(templates).map_err(invalid)?;
    let mut out = Vec::new();
    for node in &ensemble.nodes {
        let files = renderer.render(ensemble, node).map_err(invalid)?;
        let place = |name: &str| Path::new(&node.name).join(name);
        out.push(Rendering { name: place("zoo.cfg"), content: files.zoo_cfg });
        out.push(Rendering { name: place("myid"), content: files.my_id });
        out.push(Rendering { name: place(&node.unit(&ensemble.name)), content: files.unit });
    }
    if let Some(to) = to {
        for file in &out {
            let path = to.join(&file.name);
            let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            written
                .and_then(|()| std::fs::write(&path, &file.content))
                .map_err(|e| Failure::new(exit::FAILED, format!("{}: {e}", path.display())))?;
        }
    }
    Ok(out)
}
