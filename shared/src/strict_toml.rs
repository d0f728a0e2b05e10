//! Configuration files: parsed strictly, with errors that name file, line and the key that may
//! have been meant.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::names::nearest;

/// What is wrong with a configuration file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    file: String,
    line: Option<usize>,
    why: String,
}

impl Refused {
    /// A mistake that the parser could not see.
    pub fn new(file: &str, why: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, why: why.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.why),
            None => write!(f, "{}: {}", self.file, self.why),
        }
    }
}

impl std::error::Error for Refused {}

/// Parses a file's text. Unknown keys are refused.
///
/// # Errors
/// The first mistake, with its line and key.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Refused> {
    let refused = |key: &str, error: &toml::de::Error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        Refused { file: file.to_owned(), line, why: explain(key, error.message()) }
    };
    let document = toml::Deserializer::parse(text).map_err(|error| refused(NO_KEY, &error))?;
    serde_path_to_error::deserialize(document)
        .map_err(|error| refused(&error.path().to_string(), error.inner()))
}

/// What a mistake that stands in no key's value has for a path.
const NO_KEY: &str = ".";

/// The key of a value that does not fit, and why; an unknown key with the nearest name first.
fn explain(key: &str, message: &str) -> String {
    // The key of a table whose keys are names of ours is not told.
    let key = key.trim_end_matches(".?");
    let unknown_key = message.starts_with("unknown field");
    let why = unknown(message).unwrap_or_else(|| in_words(message));
    if unknown_key || key == NO_KEY { why } else { format!("{key}: {why}") }
}

/// serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let what = match message {
        key if key.starts_with("unknown field") => "key",
        value if value.starts_with("unknown variant") => "value",
        _ => return None,
    };
    let word = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    Some(match nearest(word, known.iter().copied()).first() {
        Some(near) => format!("unknown {what} `{word}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{word}`; known here: {}", known.join(", ")),
    })
}

/// serde's names of types, in words.
fn in_words(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "not an address like 127.0.0.1:8080".to_owned();
    }
    let Some((what, expected)) = message.rsplit_once("expected ") else {
        return message.to_owned();
    };
    let words = match expected {
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number above 0",
        "u8" => "a whole number from 0 to 255",
        "u32" | "u64" => "a whole number, not below 0",
        "f64" | "f32" => "a number",
        "a sequence" => "a list",
        "a map" => "a table",
        "path string" => "a path",
        "socket address" => "an address like 127.0.0.1:8080",
        table if table.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{what}expected {words}")
}

/// A duration as people write it in a configuration file: `250ms`, `90s`, `10m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_span(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A duration, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanOrNone(pub Option<Duration>);

impl<'de> Deserialize<'de> for SpanOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self(None));
        }
        parse_span(&text).map(|span| Self(Some(span))).map_err(serde::de::Error::custom)
    }
}

/// An amount of memory: a number of bytes, or `512MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let number = |text: &str| {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (number, unit) = text.split_at(digits);
            let shift = ["", "KiB", "MiB", "GiB", "TiB"].iter().position(|u| *u == unit.trim())?;
            number.parse::<u64>().ok()?.checked_mul(1 << (10 * shift))
        };
        let whole = value.as_integer().and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = whole.or_else(|| value.as_str().and_then(number));
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("{value} is no amount such as 512MiB or 2GiB"))
        })
    }
}

/// Longest: whoever writes more made a slip, and twice of it must not pass the end of time.
const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A duration in those words.
///
/// # Errors
/// It is none, with an example.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration such as 250ms, 90s, 10m, 1h 30m"))?;
    if span > SPAN_MAX { Err(format!("{text:?} is longer than ten years")) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "lease_max")]
        _lease_max: Option<Span>,
        #[serde(rename = "idle")]
        _idle: Option<SpanOrNone>,
        #[serde(rename = "count")]
        _count: Option<std::num::NonZeroU32>,
        #[serde(rename = "hosts")]
        _hosts: Option<Vec<String>>,
        #[serde(rename = "port")]
        _port: Option<std::net::SocketAddr>,
        #[serde(rename = "inner")]
        _inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {}

    fn refused(text: &str) -> String {
        parse::<File>("x.toml", text).expect_err(text).to_string()
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(
            refused("\nleas_max = \"1s\"\n"),
            "x.toml:2: unknown key `leas_max`; did you mean `lease_max`?"
        );
        assert_eq!(
            refused("zz = 1"),
            "x.toml:1: unknown key `zz`; known here: lease_max, idle, count, hosts, port, inner"
        );
        let why = "x.toml:1: lease_max: \"soon\" is not a duration such as 250ms, 90s, 10m, 1h 30m";
        assert_eq!(refused("lease_max = \"soon\""), why);
        let why = "x.toml:1: lease_max: \"20years\" is longer than ten years";
        assert_eq!(refused("lease_max = \"20years\""), why);
        assert!(refused("lease_max = 3").starts_with("x.toml:1: lease_max: invalid type"));
        assert!(refused("\nlease_max = \"1s").starts_with("x.toml:2: "), "no key's value");
        let why = "x.toml:1: count: invalid value: integer `0`, expected a whole number above 0";
        assert_eq!(refused("count = 0"), why);
        for (text, what) in [
            ("hosts = 3", "expected a list"),
            ("port = 3", "expected an address like 127.0.0.1:8080"),
            ("port = \"localhost:1\"", "port: not an address like 127.0.0.1:8080"),
            ("inner = 3", "expected a table"),
        ] {
            assert!(refused(text).ends_with(what), "{}", refused(text));
        }
        assert!(parse::<File>("x.toml", "idle = \"none\"\nlease_max = \"1h 30m\"").is_ok());
    }
}
