//! Jute, ZooKeeper's serialisation: big-endian integers, length-prefixed bytes, counted vectors.
//!
//! Decoding borrows from the input and never allocates for a length it has not seen the bytes of.
//! `Error::Short` means "a prefix of something valid": stream decoders wait for more, everything
//! else refuses. Deliberately absent: framing (`wire::frame`) and any record (`wire`).

mod read;
mod write;

pub use read::{Error, Reader, Strings};
pub use write::{
    put_bool, put_buffer, put_buffer_or_null, put_i32, put_i64, put_null, put_string, put_strings, put_u8,
    put_vec_len,
};
