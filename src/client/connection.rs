//! One TCP connection: handshake, frames in and out.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::packet::{self, Connected, Identity};
use crate::limits;

/// What a handshake came to.
pub(super) enum Handshake {
    /// The session is attached here.
    Attached(TcpStream, Connected),
    /// The servers no longer know the session.
    Expired,
}

/// Connects to one server and opens or re-attaches the session.
pub(super) async fn handshake(
    server: &(String, u16),
    identity: &Identity,
    session_ms: i32,
    within: Duration,
) -> Result<Handshake, String> {
    let name = format!("{}:{}", server.0, server.1);
    let attempt = async {
        let mut stream = TcpStream::connect((server.0.as_str(), server.1)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&packet::connect(identity, session_ms)).await?;
        let body = read_frame(&mut stream).await?;
        Ok::<_, std::io::Error>((stream, body))
    };
    let (stream, body) = match timeout(within, attempt).await {
        Err(_) => return Err(format!("{name}: no answer within {} ms", within.as_millis())),
        Ok(Err(error)) => return Err(format!("{name}: {}", said(&error))),
        Ok(Ok(done)) => done,
    };
    let connected = packet::decode_connected(&body).map_err(|e| format!("{name}: {e}"))?;
    if connected.timeout_ms <= 0 {
        return Ok(Handshake::Expired);
    }
    Ok(Handshake::Attached(stream, connected))
}

fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
            "the server closed the connection instead of opening a session (it is not serving)".into()
        }
        _ => error.to_string(),
    }
}

/// One frame's payload.
pub(super) async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = stream.read_i32().await?;
    let length =
        usize::try_from(length).ok().filter(|n| *n <= limits::TXN_BYTES_MAX * 4).ok_or_else(|| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("unreasonable frame length {length}"),
            )
        })?;
    // Grows with what arrives, so that a length alone allocates nothing.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}
