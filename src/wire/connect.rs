//! The session handshake: the first frame of a connection and its answer.
//!
//! Clients before 3.4 do not know the last byte, `readOnly`: when it is absent from the request it must
//! be absent from the response (ZOOKEEPER-4814). Deliberately absent: what the server makes of it.

use crate::jute::{self, Error, Reader};

/// How long a session password is.
pub const PASSWORD_LEN: usize = 16;

/// What a client sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// 0 so far; not looked at.
    pub protocol_version: i32,
    /// The newest zxid the client has seen; a server behind it closes the connection.
    pub last_zxid_seen: i64,
    /// The session timeout it asks for, in milliseconds.
    pub timeout_ms: i32,
    /// The session to go on with; 0 asks for a new one.
    pub session: i64,
    /// That session's password; anything for a new one.
    pub password: &'a [u8],
    /// Whether a read-only server will do; `None` when the client does not know the field.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads a frame's payload. Bytes behind the record are ignored, as in the original.
    pub fn decode(payload: &'a [u8]) -> Result<ConnectRequest<'a>, Error> {
        let mut reader = Reader::new(payload);
        Ok(ConnectRequest {
            protocol_version: reader.i32()?,
            last_zxid_seen: reader.i64()?,
            timeout_ms: reader.i32()?,
            session: reader.i64()?,
            password: reader.buffer()?.unwrap_or_default(),
            read_only: reader.bool().ok(),
        })
    }

    /// Writes the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, self.protocol_version);
        jute::put_i64(out, self.last_zxid_seen);
        jute::put_i32(out, self.timeout_ms);
        jute::put_i64(out, self.session);
        jute::put_buffer(out, self.password);
        if let Some(read_only) = self.read_only {
            jute::put_bool(out, read_only);
        }
    }
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The session timeout in milliseconds; 0 when the session is over.
    pub timeout_ms: i32,
    /// The session; 0 when it is over.
    pub session: i64,
    /// Its password; zeros when it is over.
    pub password: [u8; PASSWORD_LEN],
    /// Whether this server is read-only; `None` for a client that did not send the field.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to an expired session or a wrong password; the connection is closed behind it.
    pub fn expired(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse { timeout_ms: 0, session: 0, password: [0; PASSWORD_LEN], read_only }
    }

    /// Reads a frame's payload.
    pub fn decode(payload: &[u8]) -> Result<ConnectResponse, Error> {
        let mut reader = Reader::new(payload);
        reader.i32()?;
        let timeout_ms = reader.i32()?;
        let session = reader.i64()?;
        let raw = reader.buffer()?.unwrap_or_default();
        let password = raw.try_into().map_err(|_| Error::Length(raw.len() as i32))?;
        Ok(ConnectResponse { timeout_ms, session, password, read_only: reader.bool().ok() })
    }

    /// Writes the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, 0);
        jute::put_i32(out, self.timeout_ms);
        jute::put_i64(out, self.session);
        jute::put_buffer(out, &self.password);
        if let Some(read_only) = self.read_only {
            jute::put_bool(out, read_only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_survive_with_and_without_read_only() {
        for read_only in [None, Some(false), Some(true)] {
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: 5,
                timeout_ms: 4000,
                session: 7,
                password: &[1; 16],
                read_only,
            };
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            assert_eq!(bytes.len(), 44 + usize::from(read_only.is_some()));
            assert_eq!(ConnectRequest::decode(&bytes), Ok(request));

            let response = ConnectResponse { read_only, ..ConnectResponse::expired(None) };
            let mut bytes = Vec::new();
            response.encode(&mut bytes);
            assert_eq!(ConnectResponse::decode(&bytes), Ok(response));
        }
    }
}
