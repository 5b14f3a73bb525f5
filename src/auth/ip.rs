//! The `ip` scheme: addresses, and ranges of them as `address/bits`, v4 and v6 (ZOOKEEPER-4240).
//!
//! Addresses are read as the original reads them: v4 as four decimal numbers, v6 without an embedded v4
//! part and without a zone.

use std::net::IpAddr;

/// An address as Java prints it: v6 without `::`.
pub(super) fn text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|s| format!("{s:x}")).join(":"),
    }
}

/// An address's bytes and how many there are.
fn parse(text: &str) -> Option<([u8; 16], usize)> {
    let mut bytes = [0; 16];
    if text.contains(':') {
        parse_v6(text, &mut bytes)?;
        return Some((bytes, 16));
    }
    let mut parts = text.split('.');
    for byte in &mut bytes[..4] {
        *byte = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some((bytes, 4))
}

fn parse_v6(text: &str, bytes: &mut [u8; 16]) -> Option<()> {
    let segments = |part: &str| -> Option<Vec<u16>> {
        if part.is_empty() {
            return Some(Vec::new());
        }
        part.split(':').map(|s| if s.len() > 4 { None } else { u16::from_str_radix(s, 16).ok() }).collect()
    };
    let (front, back) = match text.split_once("::") {
        None => (segments(text)?, Vec::new()),
        Some((front, back)) => (segments(front)?, segments(back)?),
    };
    let total = front.len() + back.len();
    if total > 8 || (total == 8) == text.contains("::") {
        return None;
    }
    let at = 8 - back.len();
    let placed = front.iter().enumerate().chain(back.iter().enumerate().map(|(i, s)| (at + i, s)));
    for (i, segment) in placed {
        bytes[2 * i..2 * i + 2].copy_from_slice(&segment.to_be_bytes());
    }
    Some(())
}

/// Address, length in bytes, and bits that count.
fn parse_range(id: &[u8]) -> Option<([u8; 16], usize, usize)> {
    let id = std::str::from_utf8(id).ok()?;
    let (address, bits) = match id.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (id, None),
    };
    let (bytes, len) = parse(address)?;
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|&b| b <= len * 8)?,
        None => len * 8,
    };
    Some((bytes, len, bits))
}

/// Whether an ACL's id is an address or a range.
pub(super) fn is_valid(id: &[u8]) -> bool {
    parse_range(id).is_some()
}

/// Whether a connection's address is in an ACL's range.
pub(super) fn matches(address: &str, range: &[u8]) -> bool {
    let Some((expected, len, bits)) = parse_range(range) else { return false };
    let Some((found, found_len)) = parse(address) else { return false };
    let same_bit = |bit: usize| (expected[bit / 8] ^ found[bit / 8]) & (0x80 >> (bit % 8)) == 0;
    found_len == len && (0..bits).all(same_bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_match() {
        for (address, range, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "10.1.2.0/30", true),
            ("10.1.2.4", "10.1.2.0/30", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3/33", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("2001:db8:0:0:0:0:0:5", "2001:db8::/32", true),
            ("2001:db9:0:0:0:0:0:5", "2001:db8::/32", false),
            ("10.1.2.3", "::/0", false),
        ] {
            assert_eq!(matches(address, range.as_bytes()), expected, "{address} in {range}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for bad in ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1:2:3", "1::2::3", "1:2:3:4:5:6:7::8", "g::", "a"]
        {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        for good in ["::", "1::", "::1", "1:2:3:4:5:6:7:8", "fe80::1/64", "1.2.3.4/0"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn v6_is_printed_as_java_does() {
        assert_eq!(text("::1".parse().unwrap()), "0:0:0:0:0:0:0:1");
        assert_eq!(text("10.0.0.1".parse().unwrap()), "10.0.0.1");
    }
}
