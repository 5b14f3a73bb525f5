//! Reading jute from a slice.

use thiserror::Error as ThisError;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The record goes on behind the end of the input, by at least this many bytes.
    #[error("the record ends {0} bytes too early")]
    Short(usize),
    /// A length below -1, or -1 where null has no meaning.
    #[error("unreasonable length {0}")]
    Length(i32),
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A field whose value the record does not know.
    #[error("unexpected value {value} in field {field}")]
    Value {
        /// The field's name in the original's jute file.
        field: &'static str,
        /// What was there.
        value: i64,
    },
    /// Bytes left over behind a complete record.
    #[error("{0} bytes left over behind the record")]
    Trailing(usize),
}

/// A cursor over jute bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    field_max: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start, any field no longer than the input itself.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, field_max: usize::MAX }
    }

    /// As `new`, and a field longer than `field_max` is refused even before its bytes arrive.
    pub fn with_field_max(bytes: &'a [u8], field_max: usize) -> Reader<'a> {
        Reader { bytes, at: 0, field_max }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Refuses left-over bytes.
    pub fn finish(&self) -> Result<(), Error> {
        match self.rest().len() {
            0 => Ok(()),
            n => Err(Error::Trailing(n)),
        }
    }

    /// The next `n` bytes as they are.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let rest = self.rest();
        if rest.len() < n {
            return Err(Error::Short(n - rest.len()));
        }
        self.at += n;
        Ok(&rest[..n])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// A boolean; any byte but 0 is true, as Java reads it.
    pub fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.u8()? != 0)
    }

    /// An int.
    pub fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A long.
    pub fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer; `None` is jute's null (-1).
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let len = self.i32()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| Error::Length(len))?;
        if len > self.field_max {
            return Err(Error::Length(len as i32));
        }
        self.take(len).map(Some)
    }

    /// A string; `None` is jute's null.
    pub fn string_or_null(&mut self) -> Result<Option<&'a str>, Error> {
        match self.buffer()? {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| Error::Utf8),
        }
    }

    /// A string where null has no meaning; null reads as refusal.
    pub fn string(&mut self) -> Result<&'a str, Error> {
        self.string_or_null()?.ok_or(Error::Length(-1))
    }

    /// A vector's count; `None` is null. The count is not trusted for allocation: every element
    /// takes at least a byte of input, so a count above what is left is refused when it cannot be met.
    pub fn vec_len(&mut self) -> Result<Option<usize>, Error> {
        let len = self.i32()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| Error::Length(len))?;
        let left = self.rest().len();
        if len > left {
            return Err(Error::Short(len - left));
        }
        Ok(Some(len))
    }

    /// A vector of strings, checked and left where it is; null reads as empty.
    pub fn strings(&mut self) -> Result<Strings<'a>, Error> {
        let count = self.vec_len()?.unwrap_or(0);
        let rest = self.rest();
        let from = self.at;
        for _ in 0..count {
            self.string()?;
        }
        Ok(Strings { raw: &rest[..self.at - from], count })
    }
}

/// A borrowed vector of strings whose bytes have been checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strings<'a> {
    raw: &'a [u8],
    count: usize,
}

impl<'a> Strings<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The strings in order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut reader = Reader::new(self.raw);
        (0..self.count).map_while(move |_| reader.string().ok())
    }

    /// The strings as they stand on the wire, without the count.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_strings_stay_in_place() {
        let mut bytes = Vec::new();
        crate::jute::put_strings(&mut bytes, ["/a", "", "/c"].into_iter());
        let mut reader = Reader::new(&bytes);
        let strings = reader.strings().unwrap();
        assert!(reader.is_done());
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["/a", "", "/c"]);
        assert!(Reader::new(&[0xff; 4]).strings().unwrap().is_empty());
        for cut in 0..bytes.len() {
            assert!(Reader::new(&bytes[..cut]).strings().is_err());
        }
    }
}
