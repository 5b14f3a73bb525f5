//! What runs on a node's own host: facts, files, processes. The operator's side sends it a request
//! through `zkctl probe` or `zkctl host` and reads JSON back.
//!
//! Deliberately absent: any decision about other nodes.

mod apply;
mod control;
mod drop_in;
mod owner;
mod probe;
mod process;
pub mod protocol;
mod srvr;
mod state;
mod units;

pub use drop_in::{DropIn, drop_in};
pub use probe::probe;
pub use protocol::{Request, Response};
pub use srvr::{Mode, Srvr};
pub(crate) use state::sha256;
pub use state::{State, Unit, write_state};

/// Answers one request of the operator's side.
pub async fn answer(request: Request) -> Response {
    let result = match request {
        Request::Apply(wanted) => apply::apply(&wanted).map(Response::Applied),
        Request::Start(node) => control::start(&node).await.map(Response::Started),
        Request::Stop(node) => control::stop(&node).await.map(|was| Response::Stopped { was_running: was }),
        Request::Restart(node) => control::restart(&node).await.map(Response::Started),
        Request::Await(wanted) => {
            control::wait(&wanted).await.map(|found| Response::Awaited(Box::new(found)))
        }
        Request::Log { node, lines } => Ok(Response::Log(process::last_lines(&node, lines))),
    };
    result.unwrap_or_else(|message| Response::Failed { message })
}
