//! The operator's client against a hostile server, over a loopback connection: an answer or an error, soon.

use super::Target;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zkctl::client::{Client, Options};
use zkctl::jute;
use zkctl::prng::Prng;
use zkctl::wire::connect::ConnectResponse;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::frame;
use zkctl::wire::reply::{ReplyHeader, Stat};

pub(crate) const TARGET: Target =
    Target { name: "operator_client", run, sample, memory: (64, 1 << 20), runs: 300 };

/// Nothing of it is waited for unless the client hangs.
const HANGS: Duration = Duration::from_secs(15);

/// What the server sends as soon as somebody connects; then it closes.
pub(crate) fn run(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = data.to_vec();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Nobody listens any more: whoever comes back is refused.
            drop(listener);
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let options = Options {
            open: Duration::from_millis(10),
            connect: Duration::from_secs(10),
            retry: Duration::from_millis(1),
            ..Options::default()
        };
        let asked = tokio::time::timeout(HANGS, ask(port, options)).await;
        assert!(asked.is_ok(), "the client hangs");
        server.abort();
    });
}

async fn ask(port: u16, options: Options) {
    let Ok(client) = Client::connect(vec![("127.0.0.1".into(), port)], options).await else { return };
    let _ = tokio::join!(client.get("/a"), client.exists("/a"), client.children("/"), client.sync("/"));
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    let open = frame::begin(&mut out);
    let password = [1; 16];
    ConnectResponse { timeout_ms: 2, session: 7, password, read_only: Some(false) }.encode(&mut out);
    open.end(&mut out);
    for xid in 1..=prng.below(5) as i32 {
        let open = frame::begin(&mut out);
        let err = if prng.chance(1, 4) { ErrorCode::NONODE } else { ErrorCode::OK };
        ReplyHeader { xid, zxid: 5, err }.write(&mut out);
        match xid {
            1 => jute::put_buffer(&mut out, b"data"),
            3 => jute::put_strings(&mut out, ["a", "b"].into_iter()),
            4 => jute::put_string(&mut out, "/"),
            _ => {}
        }
        if xid < 3 {
            Stat::default().write(&mut out);
        }
        open.end(&mut out);
    }
    out
}
