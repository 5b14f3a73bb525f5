//! Asking a four-letter word.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a word was not answered.
#[derive(Debug, Error)]
pub enum WordError {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// Nothing came in time.
    #[error("no answer within {0} ms")]
    TimedOut(u64),
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

/// The longest answer that is read; `mntr` of a large server is some tens of KB.
const ANSWER_MAX: u64 = 4 << 20;

/// Sends a word and reads the whole answer.
pub async fn four_letter_word(
    host: &str,
    port: u16,
    word: &str,
    within: Duration,
) -> Result<String, WordError> {
    let ask = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = Vec::new();
        match (&mut stream).take(ANSWER_MAX).read_to_end(&mut answer).await {
            // The answer is complete when the server closes, however it does that.
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    };
    match timeout(within, ask).await {
        Err(_) => Err(WordError::TimedOut(within.as_millis() as u64)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(WordError::Refused),
        Ok(Err(error)) => Err(WordError::Other(error)),
    }
}
