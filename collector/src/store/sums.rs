//! PURE: what proves that a row is as it was written, and that none is missing before it.
//!
//! Each row carries a CRC-32 of its columns, by which it is judged alone. The rows of the event log
//! carry a SHA-256 as well that covers the row and the sum of the row before it: a chain. Whoever
//! knows the newest sum knows that every row before it is there, unchanged, in its place. Rows that
//! were pruned leave an anchor: the sum of the newest of them.

use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

/// The sum of a row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum(pub(super) [u8; 32]);

impl Sum {
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Of a row behind the one with this sum.
    #[must_use]
    pub(super) fn behind(self, columns: &[ValueRef<'_>]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        feed(columns, |bytes| hash.update(bytes));
        Self(hash.finalize().into())
    }
}

/// How far a log reaches: its newest row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tip {
    /// Its number; 0 where there was never a row.
    pub(super) seq: u64,
    /// Its sum.
    pub(super) sum: Sum,
}

/// CRC-32 (IEEE) of columns, as it stands in a row.
pub(super) fn crc(columns: &[ValueRef<'_>]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    feed(columns, |bytes| crc.update(bytes));
    i64::from(crc.finalize())
}

/// The bytes of columns: a type and a length before each, so that none runs into the next.
fn feed(columns: &[ValueRef<'_>], mut put: impl FnMut(&[u8])) {
    for column in columns {
        match column {
            ValueRef::Null => put(b"n"),
            ValueRef::Integer(number) => {
                put(b"i");
                put(&number.to_le_bytes());
            }
            ValueRef::Real(number) => {
                put(b"r");
                put(&number.to_bits().to_le_bytes());
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                put(if matches!(column, ValueRef::Text(_)) { b"t" } else { b"b" });
                put(&(bytes.len() as u64).to_le_bytes());
                put(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_do_not_run_into_each_other() {
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        let table: [&[ValueRef<'_>]; 7] = [
            &[text("ab"), text("c")],
            &[text("a"), text("bc")],
            &[text("abc")],
            &[text("abc"), text("")],
            &[ValueRef::Blob(b"abc")],
            &[text("abc"), ValueRef::Null],
            &[ValueRef::Integer(0x6162)],
        ];
        let mut seen = std::collections::HashSet::new();
        for columns in table {
            assert!(seen.insert((crc(columns), Sum::default().behind(columns).0)), "{columns:?}");
        }
    }

    #[test]
    fn a_sum_rests_on_every_row_before_it() {
        let row = |number| [ValueRef::Integer(number)];
        let chain = |rows: &[i64]| {
            rows.iter().fold(Sum::default(), |before, number| before.behind(&row(*number)))
        };
        assert_eq!(chain(&[1, 2, 3]), chain(&[1, 2, 3]));
        for other in [[1, 3, 2].as_slice(), &[1, 2], &[2, 3], &[0, 2, 3], &[1, 2, 4]] {
            assert_ne!(chain(other), chain(&[1, 2, 3]), "{other:?}");
        }
        // FIPS 180-4: of 32 zero bytes, 'i' and a little-endian 1, by another implementation.
        assert_eq!(chain(&[1]).0[..4], [0x81, 0x17, 0xdb, 0xf5]);
    }
}
