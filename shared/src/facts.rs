//! Facts: what a verdict rests on, by name and with their units, and what is not known of them.
//!
//! A time has its unit in its type; a number that has one carries it at the end of its name
//! (`_bytes`, `_usd`, `_ms`), as Prometheus does.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::time::{millis, words};

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// How long, or how long ago; `None`: never.
    Time(Option<Duration>),
    /// How many; `None`: not known.
    Count(Option<u64>),
    /// A share, a rate or an amount; `None`: not known.
    Number(Option<f64>),
    /// Whether.
    Flag(bool),
    /// What somebody else said, or a name.
    Text(String),
}

impl From<Duration> for Fact {
    fn from(time: Duration) -> Self {
        Self::Time(Some(time))
    }
}

impl From<Option<Duration>> for Fact {
    fn from(time: Option<Duration>) -> Self {
        Self::Time(time)
    }
}

impl From<u64> for Fact {
    fn from(count: u64) -> Self {
        Self::Count(Some(count))
    }
}

impl From<u32> for Fact {
    fn from(count: u32) -> Self {
        Self::Count(Some(count.into()))
    }
}

impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<f64>> for Fact {
    fn from(number: Option<f64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// In words, as people read it.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(Some(time)) => f.write_str(&words(*time)),
            Self::Time(None) => f.write_str("never"),
            Self::Count(Some(count)) => write!(f, "{count}"),
            Self::Number(Some(number)) => {
                // Of what is small the digits that say something.
                let decimals = if *number == 0.0 || number.abs() >= 0.01 { 3 } else { 12 };
                let exact = format!("{number:.decimals$}");
                f.write_str(exact.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Count(None) | Self::Number(None) => f.write_str("unknown"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// As a JSON value: milliseconds, numbers, `null` for what is not known.
impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Time(time) => time.map(millis).serialize(serializer),
            Self::Count(count) => count.serialize(serializer),
            Self::Number(number) => number.serialize(serializer),
            Self::Flag(flag) => flag.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// Facts in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts(Vec<(Cow<'static, str>, Fact)>);

impl Facts {
    /// Of some names and facts.
    pub fn new<const N: usize>(facts: [(&'static str, Fact); N]) -> Self {
        facts.into_iter().collect()
    }

    /// One more, of a name that is not there yet.
    pub fn add(&mut self, name: &'static str, fact: impl Into<Fact>) {
        debug_assert!(self.get(name).is_none(), "{name} is there already");
        self.0.push((Cow::Borrowed(name), fact.into()));
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.0.iter().map(|(name, fact)| (&**name, fact))
    }

    /// The one of a name.
    pub fn get(&self, of: &str) -> Option<&Fact> {
        self.iter().find(|(name, _)| *name == of).map(|(_, fact)| fact)
    }

    /// A time; zero where there never was one.
    pub fn time(&self, of: &str) -> Duration {
        if let Some(Fact::Time(Some(time))) = self.named(of) { *time } else { Duration::ZERO }
    }

    /// A number, or a count; zero where it is not known.
    pub fn number(&self, of: &str) -> f64 {
        match self.named(of) {
            Some(Fact::Number(Some(number))) => *number,
            #[expect(clippy::cast_precision_loss, reason = "for words alone")]
            Some(Fact::Count(Some(count))) => *count as f64,
            _ => 0.0,
        }
    }

    /// A text.
    pub fn text(&self, of: &str) -> &str {
        if let Some(Fact::Text(text)) = self.named(of) { text } else { "" }
    }

    /// It is so.
    pub fn is(&self, of: &str) -> bool {
        self.named(of) == Some(&Fact::Flag(true))
    }

    /// In words.
    pub fn said(&self, of: &str) -> String {
        self.named(of).map_or_else(|| "unknown".to_owned(), ToString::to_string)
    }

    /// Whoever asks by name knows who named it: one that is not there is a mistake in a name.
    fn named(&self, of: &str) -> Option<&Fact> {
        let fact = self.get(of);
        debug_assert!(fact.is_some(), "no fact is named {of}: {self:?}");
        fact
    }
}

impl FromIterator<(&'static str, Fact)> for Facts {
    fn from_iter<I: IntoIterator<Item = (&'static str, Fact)>>(facts: I) -> Self {
        Self(facts.into_iter().map(|(name, fact)| (Cow::Borrowed(name), fact)).collect())
    }
}

impl FromIterator<(String, Fact)> for Facts {
    fn from_iter<I: IntoIterator<Item = (String, Fact)>>(facts: I) -> Self {
        Self(facts.into_iter().map(|(name, fact)| (Cow::Owned(name), fact)).collect())
    }
}

impl IntoIterator for Facts {
    type Item = (Cow<'static, str>, Fact);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A JSON object; the names of times end in `_ms`.
impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, fact) in self.iter() {
            match fact {
                Fact::Time(_) => map.serialize_entry(&format!("{name}_ms"), fact)?,
                Fact::Count(_) | Fact::Number(_) | Fact::Flag(_) | Fact::Text(_) => {
                    map.serialize_entry(name, fact)?;
                }
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_by_people_and_by_machines() {
        let table = [
            (Fact::from(Duration::from_millis(1500)), "1.5 s", "{\"f_ms\":1500}"),
            (Fact::Time(None), "never", "{\"f_ms\":null}"),
            (Fact::from(3_u32), "3", "{\"f\":3}"),
            (Fact::from(0.05), "0.05", "{\"f\":0.05}"),
            (Fact::from(100.0), "100", "{\"f\":100.0}"),
            (Fact::from(2.0 / 3.0), "0.667", "{\"f\":0.6666666666666666}"),
            (Fact::from(0.0004), "0.0004", "{\"f\":0.0004}"),
            (Fact::from(0.0), "0", "{\"f\":0.0}"),
            (Fact::Number(None), "unknown", "{\"f\":null}"),
            (Fact::from(true), "true", "{\"f\":true}"),
            (Fact::from("a\nb"), "a\nb", "{\"f\":\"a\\nb\"}"),
        ];
        for (fact, said, json) in table {
            assert_eq!(fact.to_string(), said, "{fact:?}");
            let facts = Facts::new([("f", fact)]);
            assert_eq!(serde_json::to_string(&facts).expect("keys are strings"), json);
        }
    }
}
