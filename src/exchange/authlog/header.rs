//! Owns the frame of a syslog line: priority, version, stamp, host, program and process, in the forms of RFC 3164, RFC
//! 5424 and what rsyslog and journald write. Must not know any program's messages.

use super::error::{ParseError, ParseErrorKind};
use super::stamp::{Stamp, parse_iso};

/// The highest priority there is: facility 23, severity 7.
const PRIORITY_MAX: u16 = 191;

/// A line taken apart, before anyone has looked at the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) host: Option<&'a str>,
    /// The program's name without its path; empty where the line names none.
    pub(super) program: &'a str,
    pub(super) pid: Option<&'a str>,
    pub(super) message: &'a str,
}

/// Takes a line apart. `None` for the stamp is RFC 5424's `-`.
pub(super) fn parse(line: &str) -> Result<(Option<Stamp<'_>>, Header<'_>), ParseError> {
    let rest = strip_priority(line)?;
    if let Some(versioned) = rest.strip_prefix("1 ")
        && versioned.starts_with(|first: char| first.is_ascii_digit() || first == '-')
    {
        return parse_5424(versioned);
    }
    let (stamp, rest) = Stamp::split(rest)?;
    Ok((Some(stamp), parse_tagged(rest)?))
}

fn strip_priority(line: &str) -> Result<&str, ParseError> {
    let Some(rest) = line.strip_prefix('<') else { return Ok(line) };
    let malformed = || ParseError::new("priority", ParseErrorKind::Malformed);
    let (digits, rest) = rest.split_once('>').ok_or_else(malformed)?;
    let shaped = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(priority) if shaped && priority <= PRIORITY_MAX => Ok(rest),
        _ => Err(malformed()),
    }
}

/// `host program[pid]: message`, where the host may be missing and the program, too.
fn parse_tagged(rest: &str) -> Result<Header<'_>, ParseError> {
    let rest = rest.trim_start_matches(' ');
    let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    if first.is_empty() {
        return Err(ParseError::new("host", ParseErrorKind::Missing));
    }
    // `Mar 27 13:06:56 sshd[12]: ...`: a line without a host. An IPv6 host doesn't end with a single colon.
    if first.ends_with(':') && !first.ends_with("::") {
        let (program, pid, message) = split_tag(rest);
        return Ok(Header { host: None, program, pid, message });
    }
    let (program, pid, message) = split_tag(behind);
    Ok(Header { host: Some(first), program, pid, message })
}

fn split_tag(text: &str) -> (&str, Option<&str>, &str) {
    let none = ("", None, text);
    let Some(end) = text.find([':', '[', ' ']) else { return none };
    let (program, rest) = text.split_at(end);
    let program = base_name(program);
    if let Some(message) = rest.strip_prefix(':') {
        return (program, None, message.strip_prefix(' ').unwrap_or(message));
    }
    let Some((pid, message)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return none;
    };
    match message.strip_prefix(':') {
        Some(message) => (program, Some(pid), message.strip_prefix(' ').unwrap_or(message)),
        None => none,
    }
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// `TIMESTAMP HOST PROGRAM PID MSGID STRUCTURED-DATA [MESSAGE]`, where `-` stands for nothing.
fn parse_5424(text: &str) -> Result<(Option<Stamp<'_>>, Header<'_>), ParseError> {
    let mut rest = text;
    let mut word = |field: &str| {
        let (word, behind) =
            rest.split_once(' ').ok_or_else(|| ParseError::new(field, ParseErrorKind::Missing))?;
        rest = behind;
        Ok::<_, ParseError>(Some(word).filter(|word| *word != "-"))
    };
    let stamp = word("timestamp")?.map(parse_iso).transpose()?.map(Stamp::Full);
    let host = word("host")?;
    let program = word("program")?.map_or("", base_name);
    let pid = word("pid")?;
    word("messageId")?;
    let message = skip_structured_data(rest)
        .ok_or_else(|| ParseError::new("structuredData", ParseErrorKind::Malformed))?;
    let message = message.strip_prefix(' ').unwrap_or(message);
    Ok((stamp, Header { host, program, pid, message: message.strip_prefix('\u{feff}').unwrap_or(message) }))
}

/// What stands behind the structured data: `-`, or `[id name="value" ...]` any number of times.
fn skip_structured_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return (rest.is_empty() || rest.starts_with(' ')).then_some(rest);
    }
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            _ if quoted => {}
            b'[' if !inside => inside = true,
            b']' if inside => inside = false,
            b' ' if !inside && at > 0 => return Some(&text[at..]),
            _ if !inside => return None,
            _ => {}
        }
    }
    (!inside && !text.is_empty()).then_some("")
}
