//! Owns the messages of sshd, after what `auth.c`, `auth2.c`, `auth-pam.c` and `packet.c` of OpenSSH print. Must not
//! know frames and stamps.

use std::borrow::Cow;

use super::error::{ParseError, ParseErrorKind};
use super::finding::{Finding, parse_address};
use super::header::Header;
use super::memory::{Connection, Memory};
use super::{Found, failed_login, pam};
use crate::event::limits::USER_ID_BYTES_MAX;
use crate::event::{Category, action};

const ATTEMPT_SHAPE: &str = "Failed|Accepted METHOD for [invalid user ]NAME from ADDRESS port PORT ssh2";
const EXCEEDED: &str = "error: maximum authentication attempts exceeded for ";

/// What sshd's message means.
pub(super) fn interpret<'a>(header: &Header<'a>, memory: &mut Memory, times: u32) -> Found<'a> {
    let text = header.message.trim_end();
    let text = text.strip_suffix(" [preauth]").unwrap_or(text);
    let connection = Key { header };
    if let Some(rest) = text.strip_prefix("Failed ") {
        return attempt(rest)?.map_or(Ok(None), |attempt| Ok(failed(&attempt, connection, memory, times)));
    }
    if let Some(rest) = text.strip_prefix("Accepted ") {
        return Ok(attempt(rest)?.map(|attempt| {
            connection.forget(memory);
            accepted(&attempt).times(times)
        }));
    }
    if let Some(rest) = text.strip_prefix(EXCEEDED) {
        connection.update(memory, |connection| connection.attempted = true);
        let (invalid, rest) = strip_invalid(rest);
        let origin = origin(rest).ok_or_else(|| unfinished(ATTEMPT_SHAPE))?;
        return Ok(Some(exceeded(&origin, invalid).times(times)));
    }
    if let Some(rest) = text.strip_prefix("Invalid user ").or_else(|| text.strip_prefix("Illegal user ")) {
        let user = rest.rfind(" from ").map(|at| &rest[..at]).or(rest.starts_with("from ").then_some(""));
        let invalid_user = user.filter(|user| user.len() <= USER_ID_BYTES_MAX).map(str::to_owned);
        // The first line of a connection that names anyone: what is left of another one with this process id is over.
        connection
            .update(memory, |connection| *connection = Connection { invalid_user, ..Connection::default() });
        return Ok(None);
    }
    if let Some(rest) = text.strip_prefix("error: PAM: ") {
        return Ok(failed_in_pam(rest, connection, memory, times));
    }
    if let Some(finding) = end(text, connection, memory) {
        return Ok(Some(finding.times(times)));
    }
    Ok(pam::session(text).map(|finding| finding.times(times)))
}

/// A login that was tried, as `auth_log()` prints it.
#[derive(Debug, PartialEq, Eq)]
struct Attempt<'a> {
    method: &'a str,
    invalid: bool,
    origin: Origin<'a>,
}

/// Who came from where, and what stands behind it: for keys, their type and fingerprint.
#[derive(Debug, PartialEq, Eq)]
struct Origin<'a> {
    user: &'a str,
    address: &'a str,
    port: Option<u16>,
    extra: Option<&'a str>,
}

/// `None` for a message that merely begins like an attempt; an error for an attempt that is cut off.
fn attempt(text: &str) -> Result<Option<Attempt<'_>>, ParseError> {
    let Some((method, rest)) = text.split_once(" for ").filter(|(method, _)| !method.contains(' ')) else {
        return Ok(None);
    };
    let (invalid, rest) = strip_invalid(rest);
    let origin = origin(rest).ok_or_else(|| unfinished(ATTEMPT_SHAPE))?;
    Ok(Some(Attempt { method, invalid, origin }))
}

fn strip_invalid(text: &str) -> (bool, &str) {
    match text.strip_prefix("invalid user ").or_else(|| text.strip_prefix("illegal user ")) {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// `NAME from ADDRESS port PORT ssh2[: KEY]`. The name is whatever the client sent, so it may hold blanks, `from`, and
/// even a forged ending; a certificate's identity in KEY is the client's, too. An ending with nothing behind it, or only
/// a key's type and fingerprint, is the true one: there can't be two of them. Without one, KEY is a certificate, and the
/// first ending is taken, since the identity stands behind it.
fn origin(text: &str) -> Option<Origin<'_>> {
    let endings = || {
        text.match_indices(" from ").filter_map(|(at, from)| ending(&text[..at], &text[at + from.len()..]))
    };
    let plain = |origin: &Origin<'_>| origin.extra.is_none_or(|extra| extra.splitn(3, ' ').count() <= 2);
    // A tool that folds blanks turns an empty name's two into one.
    let folded = || ending("", text.strip_prefix("from ")?);
    endings().find(plain).or_else(|| endings().next()).or_else(folded)
}

fn ending<'a>(user: &'a str, rest: &'a str) -> Option<Origin<'a>> {
    let (address, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if rest.is_empty() {
        let valid = parse_address(address).is_some();
        return valid.then_some(Origin { user, address, port: None, extra: None });
    }
    let (port, rest) = rest.strip_prefix("port ")?.split_at_checked(digits(&rest[5..]))?;
    let origin = Origin { user, address, port: Some(port.parse().ok()?), extra: None };
    let rest = ["", " ssh2", " ssh1", " ssh"].iter().find_map(|protocol| {
        let rest = rest.strip_prefix(protocol)?;
        (rest.is_empty() || rest.starts_with(": ")).then_some(rest)
    })?;
    (!address.is_empty()).then_some(Origin { extra: rest.strip_prefix(": "), ..origin })
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn unfinished(shape: &'static str) -> ParseError {
    ParseError::new("message", ParseErrorKind::Unfinished { shape })
}

fn failed<'a>(
    attempt: &Attempt<'a>,
    connection: Key<'_, 'a>,
    memory: &mut Memory,
    times: u32,
) -> Option<Finding<'a>> {
    let mut news = times;
    connection.update(memory, |connection| {
        connection.attempted = true;
        if attempt.method.starts_with("keyboard-interactive") {
            news = times.saturating_sub(connection.named_by_pam);
            connection.named_by_pam = connection.named_by_pam.saturating_sub(times);
        }
    });
    let origin = &attempt.origin;
    let finding = failed_login(origin.user, attempt.method, attempt.invalid)
        .address(origin.address)
        .port(origin.port)
        .maybe("key", origin.extra);
    (news > 0).then(|| finding.times(news))
}

/// `error: PAM: REASON for [illegal user ]NAME from HOST`, once for each keyboard-interactive failure. For a user who
/// doesn't exist, `Failed` always follows and says more; for others, only sometimes.
fn failed_in_pam<'a>(
    text: &'a str,
    connection: Key<'_, 'a>,
    memory: &mut Memory,
    times: u32,
) -> Option<Finding<'a>> {
    let (reason, rest) = text.split_once(" for ")?;
    let (false, rest) = strip_invalid(rest) else { return None };
    let (user, address) = rest.rsplit_once(" from ")?;
    connection.update(memory, |connection| {
        connection.attempted = true;
        connection.named_by_pam = connection.named_by_pam.saturating_add(times);
    });
    let address = address.split(' ').next().unwrap_or(address);
    let finding = failed_login(user, "keyboard-interactive/pam", false).address(address);
    Some(finding.detail("reason", reason).times(times))
}

fn accepted<'a>(attempt: &Attempt<'a>) -> Finding<'a> {
    let origin = &attempt.origin;
    Finding::new(action::AUTH_LOGIN, Category::Auth)
        .user(origin.user)
        .detail("method", attempt.method)
        .address(origin.address)
        .port(origin.port)
        .maybe("key", origin.extra)
}

fn exceeded<'a>(origin: &Origin<'a>, invalid: bool) -> Finding<'a> {
    Finding::new(action::AUTH_RATE_LIMITED, Category::Auth)
        .failed()
        .user(origin.user)
        .detail("invalidUser", invalid)
        .detail("limit", "MaxAuthTries")
        .address(origin.address)
        .port(origin.port)
}

/// The end of a connection: a logout where it had a user, an abandoned login where a user was named and no attempt was
/// logged, else nothing.
fn end<'a>(text: &'a str, connection: Key<'_, 'a>, memory: &mut Memory) -> Option<Finding<'a>> {
    const ENDS: [&str; 3] = ["Connection closed by ", "Connection reset by ", "Disconnected from "];
    let (cut_off, rest) = match text.strip_prefix("Disconnecting") {
        Some(rest) => (true, without_reason(rest.trim_start_matches([':', ' ']))),
        None => (false, ENDS.iter().find_map(|start| text.strip_prefix(start))?),
    };
    let (kind, rest) = ["invalid user ", "authenticating user ", "user "]
        .iter()
        .find_map(|kind| Some((*kind, rest.strip_prefix(kind)?)))
        .unwrap_or(("", rest));
    let peer = peer(rest);
    let connection = connection.forget(memory).unwrap_or_default();
    if kind == "user " {
        let (user, address, port) = peer.filter(|_| !cut_off)?;
        let logout = Finding::new(action::AUTH_LOGOUT, Category::Auth);
        return Some(logout.user(user).address(address).port(port));
    }
    if connection.attempted {
        return None;
    }
    let invalid = kind == "invalid user " || connection.invalid_user.is_some();
    let (named, address, port) = peer.unwrap_or_default();
    let user = match (kind, peer) {
        ("", _) | (_, None) => Cow::Owned(connection.invalid_user?),
        (_, Some(_)) => Cow::Borrowed(named),
    };
    let finding = Finding::new("auth.login_abandoned", Category::Auth).failed().user(user);
    Some(finding.detail("invalidUser", invalid).address(address).port(port))
}

/// `[NAME ]ADDRESS[ port PORT]`, from its end, since the name may hold anything.
fn peer(text: &str) -> Option<(&str, &str, Option<u16>)> {
    let (text, port) = match text.rsplit_once(" port ").map(|(text, port)| (text, port.parse().ok())) {
        Some((text, Some(port))) => (text, Some(port)),
        _ => (text, None),
    };
    let (user, address) = text.rsplit_once(' ').unwrap_or(("", text));
    parse_address(address).map(|_| (user, address, port))
}

/// `PEER: REASON` without the reason. The reason is sshd's own text, but for the names in one about a changed user name.
fn without_reason(text: &str) -> &str {
    let end = text.find(" port ").map_or(0, |at| at + " port ".len());
    text[end..].find(": ").map_or(text, |at| &text[..end + at])
}

/// Names a connection by the process that serves it. Without a process id nothing is remembered.
#[derive(Clone, Copy)]
struct Key<'h, 'a> {
    header: &'h Header<'a>,
}

impl Key<'_, '_> {
    fn update(self, memory: &mut Memory, change: impl FnOnce(&mut Connection)) {
        if let Some(pid) = self.header.pid {
            change(memory.connections.entry((self.header.host, pid)));
        } else {
            change(&mut Connection::default());
        }
    }

    fn forget(self, memory: &mut Memory) -> Option<Connection> {
        memory.connections.take((self.header.host, self.header.pid?))
    }
}
