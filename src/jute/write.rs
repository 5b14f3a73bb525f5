//! Writing jute behind what a buffer already holds.

/// One byte.
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// A boolean.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// An int.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A long.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Null: a buffer, string or vector that is not there.
pub fn put_null(out: &mut Vec<u8>) {
    put_i32(out, -1);
}

/// A buffer with its length.
///
/// # Panics
/// When `bytes` is longer than an int can say; every caller's input is bounded by `limits`.
pub fn put_buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    put_vec_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A buffer, or null.
///
/// # Panics
/// As `put_buffer`.
pub fn put_buffer_or_null(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_buffer(out, bytes),
        None => put_null(out),
    }
}

/// A string with its length in bytes.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_buffer(out, text.as_bytes());
}

/// A vector of strings.
pub fn put_strings<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a str>) {
    put_vec_len(out, texts.len());
    for text in texts {
        put_string(out, text);
    }
}

/// A vector's count, or a buffer's length.
///
/// # Panics
/// As `put_buffer`.
pub fn put_vec_len(out: &mut Vec<u8>, len: usize) {
    assert!(len <= i32::MAX as usize, "a jute length must fit an int");
    put_i32(out, len as i32);
}
