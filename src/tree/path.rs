//! Rules of znode paths: what may be created, parents and names, the sequence suffix.
//!
//! Deliberately absent: chroots, which only clients know.

/// The znode under which the server keeps its own.
pub const ZOOKEEPER: &str = "/zookeeper";
/// The member list.
pub const CONFIG: &str = "/zookeeper/config";
/// The quotas.
pub const QUOTA: &str = "/zookeeper/quota";

/// Whether a path may be written to, as `PathUtils.validatePath`: it starts with `/`, does not end with it
/// (the root apart), has no empty, `.` or `..` name, and none of the characters U+0000 to U+001F, U+007F
/// to U+009F, U+D800 to U+F8FF (with surrogates, so nothing beyond the first plane), U+FFF0 to U+FFFF.
pub fn is_valid(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    if bytes.len() == 1 {
        return true;
    }
    if bytes.ends_with(b"/") {
        return false;
    }
    let names = bytes[1..].split(|&b| b == b'/');
    for name in names {
        if matches!(name, b"" | b"." | b"..") {
            return false;
        }
    }
    if bytes.iter().all(|b| (0x20..0x7f).contains(b)) {
        return true;
    }
    !path.chars().any(|c| {
        matches!(c,
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..)
    })
}

/// A path's parent and name: split at the last slash, so the parent of a child of the root is empty.
/// `None` without a slash.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// A path's parent as watches know it: the root is `/`.
pub fn watched_parent(path: &str) -> &str {
    match split(path) {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// Whether the path is one of the four that can never be deleted.
pub fn is_special(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | QUOTA | CONFIG)
}

/// Appends the sequence suffix: the parent's stored cversion, ten digits wide, negative after 2^31.
pub fn push_sequence(path: &mut String, cversion: i32) {
    use std::fmt::Write;
    // Java's %010d counts the sign into the width, as Rust does. Writing to a String cannot fail.
    let _ = write!(path, "{cversion:010}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal_paths() {
        for good in ["/", "/a", "/a/b.c", "/...", "/a/.b", "/\u{e9}", "/a b"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/..",
            "/\0",
            "/a\u{1}",
            "/\x7f",
            "/\u{85}",
            "/\u{e000}",
            "/\u{fff0}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn parents_and_sequences() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!((watched_parent("/a"), watched_parent("/a/b")), ("/", "/a"));
        let mut path = String::from("/q-");
        push_sequence(&mut path, 7);
        push_sequence(&mut path, -7);
        assert_eq!(path, "/q-0000000007-000000007");
    }
}
