//! ClientFifo: replies come in the order of the requests, and zxids never go back. (Item 14.)

use super::Check;
use zkctl::wire::reply::ReplyHeader;

/// Looks at a reply: which xid was due, and the last zxid that this client saw, on whatever server.
pub(crate) fn check(client: u64, header: &ReplyHeader, due: Option<i32>, last_zxid: i64) -> Check {
    let name = format!("ClientFifo: client {client}");
    let Some(due) = due else { return Err(format!("{name}: a reply to nothing: {header:?}")) };
    if header.xid != due {
        return Err(format!("{name}: reply {} where {due} was due", header.xid));
    }
    if header.zxid < last_zxid {
        return Err(format!("{name}: zxid went back from {last_zxid:#x} to {:#x}", header.zxid));
    }
    Ok(())
}
