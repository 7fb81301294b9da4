//! Text from outside, made fit for a terminal: escaped, measured, cut. Must not know what it says.
//!
//! Whoever can write events (anybody who can fail to log in) must not be able to move the reader's cursor, hide a line or
//! turn its words around.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Whether a character must not reach a terminal as it is: control characters, what changes the direction of writing,
/// what breaks lines, and what can't be seen.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text on one line, with everything unfit for a terminal escaped as in Rust.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unfit(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// How many columns a character takes.
fn columns_of(c: char) -> usize {
    // The selector of the emoji form widens the character before it.
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) }
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The text, cut to a number of columns, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, columns_max: usize) -> Cow<'_, str> {
    if columns(text) <= columns_max {
        return Cow::Borrowed(text);
    }
    let Some(room) = columns_max.checked_sub(1) else { return Cow::Borrowed("") };
    let mut taken = 0;
    let kept: String = text
        .chars()
        .take_while(|c| {
            taken += columns_of(*c);
            taken <= room
        })
        .collect();
    Cow::Owned(kept + "…")
}

/// A count with its thousands apart: 1,234,567.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as people say it: 1.5 MiB.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let size = 1_u64 << shift;
        if count >= size {
            let tenths = (count % size).saturating_mul(10) >> shift;
            return format!("{}.{tenths} {unit}", grouped(count >> shift));
        }
    }
    format!("{count} B")
}

/// A count and what is counted: `1 event`, `2,000 events`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {one}{s}", grouped(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\tc\u{9b}d"), "a\\u{1b}[2Jb\\r\\n\\tc\\u{9b}d");
        assert_eq!(printable("x\u{202e}gpj.exe\u{2066}"), "x\\u{202e}gpj.exe\\u{2066}");
        assert_eq!(
            printable("\u{0}\u{7f}\u{2028}\u{200b}\u{feff}"),
            "\\u{0}\\u{7f}\\u{2028}\\u{200b}\\u{feff}"
        );
        let harmless = "Zoë 👩‍👩‍👧 日本語 ‑ \"quoted\" C:\\dir";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            assert!(!printable(&c.to_string()).contains(c), "{c:?}");
        }
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 1), "…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(columns("日本"), 4);
        assert_eq!(columns("❤\u{fe0f}"), 2);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16,777,215.9 TiB");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2_000, "event"), "2,000 events");
    }
}
