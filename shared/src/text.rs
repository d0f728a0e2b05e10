//! The one door for text from outside: from agents, other processes, peers, files of others. It
//! ends up in logs, on terminals and in records that people trust.
//!
//! What moves a cursor, turns the direction of what follows, or cannot be seen becomes U+FFFD, and
//! nothing is longer than [`LEN_MAX`]. (Trojan Source, CVE-2021-42574; Unicode's `Cf` and `Cc`.)

use std::borrow::Cow;

/// Longest text that is kept, bytes; the rest is cut at a character's edge.
pub const LEN_MAX: usize = 200;

/// It moves a cursor, turns the direction of what follows, ends a line, or is not seen at all.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Nothing in it misleads.
pub fn is_clean(text: &str) -> bool {
    !text.contains(misleads)
}

/// One line that says what it seems to say, of any length.
pub fn clean(text: &str) -> Cow<'_, str> {
    match is_clean(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace(misleads, "\u{fffd}")),
    }
}

/// The same, cut to [`LEN_MAX`].
pub fn clip(text: Cow<'_, str>) -> String {
    let mut text = match clean(&text) {
        Cow::Borrowed(_) => text.into_owned(),
        Cow::Owned(clean) => clean,
    };
    let edge = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=LEN_MAX.min(text.len())).rev().find(edge).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_shown_as_such() {
        let table = [
            ("plain", "plain"),
            ("Zürich 東京 🙂 e\u{301}", "Zürich 東京 🙂 e\u{301}"),
            ("\x1b[31mred\x07", "\u{fffd}[31mred\u{fffd}"),
            ("a\r\n2026-01-01 WARN forged", "a\u{fffd}\u{fffd}2026-01-01 WARN forged"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e"),
            ("a\u{200b}b\u{feff}c\u{ad}d\u{e0041}e", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a\u{fffd}b\u{fffd}c\u{fffd}d"),
        ];
        for (text, shown) in table {
            assert_eq!(clean(text), shown);
            assert_eq!(clip(text.into()), shown);
        }
    }

    #[test]
    fn what_is_long_is_cut_at_a_characters_edge() {
        assert_eq!(clip("x".repeat(300).into()).len(), LEN_MAX);
        let odd = format!("x{}", "é".repeat(150));
        assert_eq!(clip(odd.as_str().into()).len(), LEN_MAX - 1);
        assert_eq!(clip("\x1b".repeat(300).into()).len(), LEN_MAX - LEN_MAX % 3);
        assert_eq!(clean(&odd), odd);
    }
}
