//! All hosts of an ensemble: connected in parallel, asked in parallel, each failure kept with its host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::command::{Command, Input};
use super::facts::{self, NodeView, Unreachable};
use super::lock::{HostLock, LockError};
use super::ssh::{Remote, RemoteError, Target};
use super::upload::Release;
use crate::ops::host::protocol::{HostFacts, NodeSpec, Request, Response};
use crate::ops::inventory::{Ensemble, Node};

/// However long it took to connect, a server has this long to answer.
const ANSWER_MIN: Duration = Duration::from_secs(1);
/// What a command takes on its way there and back.
const COMMAND: Duration = Duration::from_millis(300);

/// The hosts of an ensemble.
pub struct Fleet {
    hosts: BTreeMap<Target, Result<Arc<Remote>, RemoteError>>,
}

impl Fleet {
    /// Connects to every host. A host that cannot be reached is kept as such.
    pub async fn connect(ensemble: &Ensemble, within: Option<Duration>) -> Fleet {
        let mut targets: Vec<Target> = ensemble.nodes.iter().map(|n| Target::of(ensemble, n)).collect();
        targets.sort();
        targets.dedup();
        let mut tasks = JoinSet::new();
        for target in targets {
            tasks.spawn(async move {
                let remote = Remote::connect(&target, within).await;
                (target, remote.map(Arc::new))
            });
        }
        Fleet { hosts: tasks.join_all().await.into_iter().collect() }
    }

    /// The host of a node.
    pub fn host(&self, ensemble: &Ensemble, node: &Node) -> Result<Arc<Remote>, String> {
        match self.hosts.get(&Target::of(ensemble, node)) {
            Some(Ok(remote)) => Ok(Arc::clone(remote)),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("{}: not connected", node.host)),
        }
    }

    /// Connects and asks at once, so that a host that does not answer delays nobody. `within` is for both; what
    /// connecting leaves of it is for the answers, but `ANSWER_MIN` at least.
    pub async fn survey(ensemble: &Ensemble, within: Duration) -> (Fleet, Vec<NodeView>) {
        let mut targets: Vec<Target> = ensemble.nodes.iter().map(|n| Target::of(ensemble, n)).collect();
        targets.sort();
        targets.dedup();
        let mut tasks = JoinSet::new();
        for target in targets {
            let nodes = nodes_at(ensemble, &target);
            tasks.spawn(async move {
                let begun = Instant::now();
                let remote = Remote::connect(&target, Some(within)).await.map(Arc::new);
                let found = ask_for_facts(remote.clone(), &nodes, true, left(within, begun.elapsed())).await;
                (target, remote, found)
            });
        }
        let mut hosts = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (target, remote, facts) in tasks.join_all().await {
            hosts.insert(target.clone(), remote);
            found.insert(target, facts);
        }
        (Fleet { hosts }, views(ensemble, &found))
    }

    /// Asks every host about its nodes; in the inventory's order.
    pub async fn facts(&self, ensemble: &Ensemble, session: bool, within: Duration) -> Vec<NodeView> {
        let mut tasks = JoinSet::new();
        for (target, remote) in &self.hosts {
            let nodes = nodes_at(ensemble, target);
            let (remote, target) = (remote.clone(), target.clone());
            tasks.spawn(async move { (target, ask_for_facts(remote, &nodes, session, within).await) });
        }
        views(ensemble, &tasks.join_all().await.into_iter().collect())
    }

    /// Sends a request to the zkctl of a node's host: of the release named, else of the one in use.
    pub async fn ask(
        &self,
        ensemble: &Ensemble,
        node: &Node,
        release: Option<&str>,
        request: &Request,
        within: Duration,
    ) -> Result<Response, String> {
        let remote = self.host(ensemble, node)?;
        let program = match release {
            Some(release) => format!("{}/zkctl", node.paths.release(release)),
            None => format!("{}/zkctl", node.paths.bin()),
        };
        let body = serde_json::to_vec(request).map_err(|e| e.to_string())?;
        let command =
            Command::new([program.as_str(), "host", "request"]).input(Input::Bytes(body)).timeout(within);
        let output = remote.run(command).await.map_err(|e| e.to_string())?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Response::Failed { message }) => Err(message),
            Ok(response) => Ok(response),
            Err(_) if output.is_ok() => {
                Err("its zkctl speaks another version; run `zkctl deploy` first".into())
            }
            Err(_) => Err(output.said()),
        }
    }

    /// Uploads a release to a node's host.
    pub async fn upload(&self, ensemble: &Ensemble, node: &Node, release: &Release) -> Result<(), String> {
        let remote = self.host(ensemble, node)?;
        release.upload(&remote, &node.paths.dir).await
    }

    /// Takes the locks of these nodes, host by host in the inventory's order; all or none.
    pub async fn lock(
        &self,
        ensemble: &Ensemble,
        nodes: &[Node],
        who: &str,
    ) -> Result<Vec<HostLock>, (String, LockError)> {
        let mut hosts: Vec<(Target, Vec<&Node>)> = Vec::new();
        for node in nodes {
            let target = Target::of(ensemble, node);
            match hosts.iter_mut().find(|(known, _)| *known == target) {
                Some((_, here)) => here.push(node),
                None => hosts.push((target, vec![node])),
            }
        }
        let mut locks = Vec::new();
        for (_, here) in hosts {
            let name = |at: usize| here.get(at).map(|n| n.name.clone()).unwrap_or_default();
            let remote = self.host(ensemble, here[0]).map_err(|e| (name(0), LockError::Failed(e)))?;
            let dirs: Vec<&str> = here.iter().map(|n| n.paths.dir.as_str()).collect();
            locks.push(HostLock::take(&remote, &dirs, who).await.map_err(|(at, e)| (name(at), e))?);
        }
        Ok(locks)
    }

    /// Ends all connections.
    pub async fn close(self) {
        let mut tasks = JoinSet::new();
        for remote in self.hosts.into_values().flatten() {
            if let Ok(remote) = Arc::try_unwrap(remote) {
                tasks.spawn(remote.close());
            }
        }
        tasks.join_all().await;
    }
}

/// What is left for an answer, in tenths of a second.
fn left(within: Duration, gone: Duration) -> Duration {
    let left = within.saturating_sub(gone + COMMAND).max(ANSWER_MIN);
    Duration::from_millis(left.as_millis() as u64 / 100 * 100)
}

fn nodes_at(ensemble: &Ensemble, target: &Target) -> Vec<NodeSpec> {
    let here = |n: &&Node| Target::of(ensemble, n) == *target;
    ensemble.nodes.iter().filter(here).map(|n| NodeSpec::of(ensemble, n)).collect()
}

async fn ask_for_facts(
    remote: Result<Arc<Remote>, RemoteError>,
    nodes: &[NodeSpec],
    session: bool,
    within: Duration,
) -> Result<HostFacts, String> {
    match remote {
        Ok(remote) => facts::gather(&remote, nodes, session, within).await,
        Err(error) => Err(error.to_string()),
    }
}

/// The nodes in the inventory's order, each with what its host said.
fn views(ensemble: &Ensemble, found: &BTreeMap<Target, Result<HostFacts, String>>) -> Vec<NodeView> {
    let view = |node: &Node| {
        let nothing = |reason: String| (false, String::new(), 0, Err(Unreachable { reason }));
        let (systemd, arch, uid, facts) = match found.get(&Target::of(ensemble, node)) {
            Some(Ok(host)) => {
                let facts = host.nodes.iter().find(|f| f.name == node.name).cloned();
                let missing =
                    || Unreachable { reason: format!("{}: no facts about {}", node.host, node.name) };
                (host.systemd, host.arch.clone(), host.uid, facts.ok_or_else(missing))
            }
            Some(Err(reason)) => nothing(reason.clone()),
            None => nothing(format!("{}: not connected", node.host)),
        };
        NodeView { node: node.clone(), systemd, arch, uid, facts }
    };
    ensemble.nodes.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_what_connecting_leaves() {
        let ms = Duration::from_millis;
        assert_eq!(left(ms(1800), ms(150)), ms(1300));
        assert_eq!(left(ms(1800), ms(1700)), ms(1000));
        assert_eq!(left(ms(1800), ms(5000)), ms(1000));
    }
}
