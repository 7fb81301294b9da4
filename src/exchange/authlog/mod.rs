//! Owns the reading of `auth.log`: syslog lines of sshd, sudo, su and the account programs, turned into events one line
//! at a time. Must not know where lines come from, how they are counted, or that there is a store.
//!
//! # Which message becomes which event
//!
//! One attempt, one event: where several lines tell of the same thing, one of them counts, and the others are ignored.
//!
//! | program | message | event, and on whose trail |
//! |---|---|---|
//! | sshd | `Failed METHOD for [invalid user ]NAME from ADDRESS port PORT ...` | `auth.login_failed` of NAME, any method (`none`, `password`, `publickey`, `keyboard-interactive/pam`, ...); without a user where NAME is empty |
//! | sshd | `error: PAM: REASON for NAME from HOST` | `auth.login_failed` of NAME; a `Failed keyboard-interactive` line for the same attempt is then ignored (sshd prints that one only sometimes) |
//! | sshd | `error: PAM: REASON for illegal user NAME ...` | ignored: `Failed` always follows |
//! | sshd | `error: maximum authentication attempts exceeded for NAME ...` | `auth.rate_limited` of NAME: sshd cuts the connection off. The attempts themselves are in the `Failed` lines |
//! | sshd | `Connection closed by`, `Connection reset by`, `Disconnected from`, `Disconnecting` `[invalid\|authenticating user NAME ]ADDRESS ...` before a login | `auth.login_abandoned` of NAME (or of the connection's `Invalid user`) **only** where no attempt of this connection was logged, as on servers that take keys alone; else ignored |
//! | sshd | `Accepted METHOD for NAME from ADDRESS port PORT ...` | `auth.login` of NAME |
//! | sshd | `Disconnected from user NAME ...`, `Connection closed by user NAME ...`, `Connection reset by user NAME ...` | `auth.logout` of NAME |
//! | sshd | `Invalid user NAME from`, `input_userauth_request: invalid user`, `User NAME from HOST not allowed because` | ignored: announces an attempt, and each attempt has its `Failed` line |
//! | sshd | `pam_unix(sshd:auth): authentication failure`, `check pass; user unknown`, `PAM N more authentication failures`, `PAM service(sshd) ignoring max retries` | ignored: PAM's words for attempts that have a `Failed` line |
//! | sshd | `Partial METHOD`, `Postponed METHOD` | ignored: the login isn't decided yet |
//! | sshd | `Received disconnect from`, `Disconnected from ADDRESS`, `Disconnecting user NAME`, `Starting session`, `Close session` | ignored: names nobody, or the same end or session is told by another line |
//! | sshd, sudo, su | `pam_unix(...:session): session opened for user NAME by ACTOR` | `session.created` of NAME, by ACTOR where that is somebody else |
//! | sshd, sudo, su | `pam_unix(...:session): session closed for user NAME` | `session.logout` of NAME (an ordinary end, so not `session.revoked`) |
//! | sudo | `NAME : TTY=... ; USER=... ; COMMAND=...` | `admin.sudo_command` (admin) of NAME. Not `auth.secure_action_verified`: sudo asks for no password within its grace time or with `NOPASSWD`, so nothing need have been verified |
//! | sudo | `NAME : N incorrect password attempts ; ...` | `auth.login_failed` of NAME for each of the N that PAM has not named yet |
//! | sudo | `NAME : command not allowed ; ...`, `user NOT in sudoers`, `a password is required`, ... | `admin.sudo_denied` (admin) of NAME |
//! | su | `Successful su for NAME by ACTOR`, `(to NAME) ACTOR on TTY` | `admin.su` (admin) of NAME, by ACTOR |
//! | su | `FAILED su for NAME by ACTOR`, `FAILED SU (to NAME) ACTOR on TTY` | `auth.login_failed` of NAME, by ACTOR, unless PAM has named it |
//! | sudo, su | `pam_unix(...:auth): authentication failure; ... user=NAME`, `PAM N more authentication failures` | `auth.login_failed` of NAME (N times), counted once with the line above |
//! | su | `+ TTY A:B`, `- TTY A:B` | ignored: once more the same |
//! | useradd | `new user: name=NAME, ...` | `user.created` of NAME |
//! | useradd | `failed adding user 'NAME'` | `user.create_failed` (account) of NAME |
//! | useradd, groupadd | `new group: name=GROUP, ...` | `group.created` (account), resource `group`, no user |
//! | groupadd | `group added to FILE: ...` | ignored: once more the same |
//! | usermod, gpasswd, useradd | `add 'NAME' to group 'GROUP'`, `delete 'NAME' from group 'GROUP'` | `user.role_changed` of NAME |
//! | userdel | `delete user 'NAME'` | `user.deleted` of NAME |
//! | passwd, chpasswd | `pam_unix(...:chauthtok): password changed for NAME` | `auth.password_changed` of NAME |
//! | any | `message repeated N times: [ MESSAGE]`, `last message repeated N times` | what MESSAGE or the line before gives, N times, at this line's time |
//! | all others | CRON, systemd, systemd-logind, ... | ignored |
//!
//! Names are taken as they are logged; sshd writes bytes that aren't plain ASCII as `\303\251`. `details` has `address`,
//! `port`, `method`, `invalidUser`, `key` where the message has them, and `host` and `pid` of the line.
//!
//! # Time
//!
//! Stamps may be classic (`Mar 27 13:06:56`), ISO 8601 (`2024-03-27T13:06:56.123+01:00`) or in an RFC 5424 line, with or
//! without `<PRI>`. One without a zone is UTC. The year of a classic stamp: that of the stamp before it; of the first one
//! the given year, or else the latest in which the stamp isn't in the future (29 February: the latest leap year). A stamp
//! that then lies more than 183 days before the last one is in the next year (New Year); one that lies ahead, and in the
//! year before would be at most 31 days back, is a late line of the old year. A stream can't be read to its end first,
//! so a log that goes further back than a year needs its year to be given.

mod accounts;
mod error;
mod finding;
mod header;
mod memory;
mod pam;
mod sshd;
mod stamp;
mod sudo;
#[cfg(test)]
mod tests;

pub use error::{ParseError, ParseErrorKind};

use crate::event::{Category, Timestamp, action};
use crate::exchange::Parsed;
use finding::Finding;
use header::Header;
use memory::Memory;
use stamp::Calendar;

/// The highest repeat count of one line that is believed.
const REPEATS_MAX: u32 = 1_000_000;

/// What a message means: an event, nothing, or a line that is at fault.
type Found<'a> = Result<Option<Finding<'a>>, ParseError>;

/// Reads `auth.log`, line by line, in the order of the file: it remembers the year, the last message, and what has been
/// counted already, in bounded memory (at most 1.5 MiB and the last line).
///
/// ```
/// use usertrail::event::Timestamp;
/// use usertrail::exchange::{Parsed, authlog::Parser};
///
/// let now = Timestamp::parse_rfc3339("2024-06-01T00:00:00Z")?;
/// let mut parser = Parser::new(None, now);
/// let line = "Mar 27 13:08:09 web sshd[1361]: Failed password for root from 192.0.2.7 port 54259 ssh2";
/// let Parsed::Event { event, times } = parser.parse(line.as_bytes())? else { panic!("an event") };
/// assert_eq!(times, 1);
/// assert_eq!(event.action().as_str(), "auth.login_failed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    calendar: Calendar,
    memory: Memory,
    previous: Previous,
}

impl Parser {
    /// A parser for one log. `year` is that of its first line; without it, the first line gets the latest year in which
    /// it isn't after `now`.
    pub fn new(year: Option<u16>, now: Timestamp) -> Self {
        Self { calendar: Calendar::new(year, now), memory: Memory::new(), previous: Previous::default() }
    }

    /// Reads one line, without its line end.
    ///
    /// # Errors
    /// The part of the line that is at fault and why. The lines after it are not affected.
    pub fn parse(&mut self, line: &[u8]) -> Result<Parsed, ParseError> {
        let line = std::str::from_utf8(line).map_err(|error| {
            ParseError::new("line", ParseErrorKind::NotUtf8 { valid_bytes: error.valid_up_to() })
        })?;
        let (stamp, header) = header::parse(line)?;
        let at = stamp.map(|stamp| self.calendar.resolve(stamp)).transpose()?;
        let missing = || ParseError::new("timestamp", ParseErrorKind::Missing);
        if let Some(count) = last_message_repeated(&header) {
            let times = repeat_count(count)?;
            let Some(previous) = self.previous.header(header.host) else { return Ok(Parsed::Ignored) };
            return interpret(&previous, &mut self.memory, times, || at.ok_or_else(missing));
        }
        self.previous.remember(&header);
        match message_repeated(header.message) {
            Some((count, message)) => {
                let header = Header { message, ..header };
                interpret(&header, &mut self.memory, repeat_count(count)?, || at.ok_or_else(missing))
            }
            None => interpret(&header, &mut self.memory, 1, || at.ok_or_else(missing)),
        }
    }
}

fn interpret(
    header: &Header<'_>,
    memory: &mut Memory,
    times: u32,
    at: impl FnOnce() -> Result<Timestamp, ParseError>,
) -> Result<Parsed, ParseError> {
    let (service, found) = match header.program {
        // OpenSSH 9.8 and 10 gave the parts of sshd names of their own.
        "sshd" | "sshd-session" | "sshd-auth" => ("sshd", sshd::interpret(header, memory, times)?),
        "sudo" => ("sudo", sudo::interpret_sudo(header, memory, times)),
        "su" => ("su", sudo::interpret_su(header, memory, times)),
        program => match account_program(program) {
            Some(service) => (service, accounts::interpret(header.message).map(|found| found.times(times))),
            None => return Ok(Parsed::Ignored),
        },
    };
    let Some(found) = found else { return Ok(Parsed::Ignored) };
    let times = found.times;
    if times > REPEATS_MAX {
        return Err(too_often());
    }
    Ok(Parsed::Event { event: Box::new(found.into_event(header, service, at()?)?), times })
}

fn account_program(program: &str) -> Option<&'static str> {
    const PROGRAMS: [&str; 8] =
        ["useradd", "groupadd", "usermod", "gpasswd", "userdel", "groupdel", "passwd", "chpasswd"];
    PROGRAMS.into_iter().find(|known| *known == program)
}

/// A login that failed, on the trail of the name that was tried.
fn failed_login<'a>(user: &'a str, method: &str, invalid: bool) -> Finding<'a> {
    Finding::new(action::AUTH_LOGIN_FAILED, Category::Auth)
        .failed()
        .user(user)
        .detail("method", method)
        .detail("invalidUser", invalid)
}

/// rsyslog's `message repeated N times: [ MESSAGE]`.
fn message_repeated(message: &str) -> Option<(&str, &str)> {
    let (count, rest) = message.strip_prefix("message repeated ")?.split_once(" times: [")?;
    let inner = rest.strip_suffix(']')?;
    Some((count, inner.strip_prefix(' ').unwrap_or(inner)))
}

/// The `last message repeated N times` of older daemons, some of which put it between dashes.
fn last_message_repeated<'a>(header: &Header<'a>) -> Option<&'a str> {
    let message = header.message.trim_matches(['-', ' ']);
    let (count, rest) = message.strip_prefix("last message repeated ")?.split_once(' ')?;
    matches!(rest, "time" | "times").then_some(count)
}

fn repeat_count(count: &str) -> Result<u32, ParseError> {
    match count.parse() {
        Ok(times @ 1..=REPEATS_MAX) => Ok(times),
        _ => Err(too_often()),
    }
}

fn too_often() -> ParseError {
    ParseError::new("message", ParseErrorKind::RepeatCount { max: REPEATS_MAX })
}

/// The last message, for a line that only says how often it came again.
#[derive(Debug, Default)]
struct Previous {
    host: Option<String>,
    program: String,
    pid: Option<String>,
    message: String,
}

impl Previous {
    fn remember(&mut self, header: &Header<'_>) {
        let message = message_repeated(header.message).map_or(header.message, |(_, message)| message);
        self.host = header.host.map(str::to_owned);
        self.program.clear();
        self.program.push_str(header.program);
        self.pid = header.pid.map(str::to_owned);
        self.message.clear();
        self.message.push_str(message);
    }

    /// `None` where the last line is another host's.
    fn header(&self, host: Option<&str>) -> Option<Header<'_>> {
        (self.host.as_deref() == host).then_some(Header {
            host: self.host.as_deref(),
            program: &self.program,
            pid: self.pid.as_deref(),
            message: &self.message,
        })
    }
}
