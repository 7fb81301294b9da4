//! Owns the messages of sudo and of both kinds of su (shadow's and util-linux's). Must not know frames and stamps.

use super::finding::Finding;
use super::header::Header;
use super::memory::{Attempts, Memory};
use super::{failed_login, pam};
use crate::event::Category;

/// What sudo's message means.
pub(super) fn interpret_sudo<'a>(
    header: &Header<'a>,
    memory: &mut Memory,
    times: u32,
) -> Option<Finding<'a>> {
    let run = Run { header, program: "sudo" };
    if let Some(failure) = pam::failure(header.message) {
        return run.failed_in_pam(&failure, memory, times);
    }
    if let Some(finding) = pam::session(header.message) {
        return Some(finding.times(times));
    }
    let entry = parse_entry(header.message)?;
    let Some(reason) = entry.reason else {
        run.forget(entry.user, memory);
        return Some(entry.describe(Finding::new("admin.sudo_command", Category::Admin)).times(times));
    };
    if let Some(attempts) = incorrect_attempts(reason) {
        let news = run.sum_up(entry.user, attempts.saturating_mul(times), memory);
        let finding =
            entry.describe(failed_login(entry.user, "password", false)).detail("attempts", attempts);
        return (news > 0).then(|| finding.times(news));
    }
    let denied = Finding::new("admin.sudo_denied", Category::Admin).failed();
    Some(entry.describe(denied).detail("reason", reason).times(times))
}

/// What su's message means.
pub(super) fn interpret_su<'a>(header: &Header<'a>, memory: &mut Memory, times: u32) -> Option<Finding<'a>> {
    let run = Run { header, program: "su" };
    if let Some(failure) = pam::failure(header.message) {
        return run.failed_in_pam(&failure, memory, times);
    }
    if let Some(finding) = pam::session(header.message) {
        return Some(finding.times(times));
    }
    let (success, user, by, terminal) = parse_su(header.message)?;
    if success {
        run.forget(user, memory);
        let finding = Finding::new("admin.su", Category::Admin).user(user).actor(by);
        return Some(finding.detail("by", by).maybe("terminal", terminal).times(times));
    }
    let news = run.sum_up(user, times, memory);
    let finding = failed_login(user, "password", false).actor(by).maybe("terminal", terminal);
    (news > 0).then(|| finding.times(news))
}

/// `NAME : [REASON ; ][HOST=H ; ]TTY=T ; PWD=P ; USER=U ; ... ; COMMAND=C`.
struct Entry<'a> {
    user: &'a str,
    reason: Option<&'a str>,
    fields: &'a str,
    command: &'a str,
}

fn parse_entry(message: &str) -> Option<Entry<'_>> {
    let (user, rest) = message.trim_start_matches(' ').split_once(" : ")?;
    let (fields, command) = rest.split_once("COMMAND=")?;
    // The reason, where there is one, is the part in front of the first field, and has no `=` of its own.
    let first = rest.split(" ; ").next().unwrap_or(rest);
    let is_field =
        first.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase()));
    Some(Entry { user, reason: (!is_field).then_some(first), fields, command })
}

impl<'a> Entry<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.split(" ; ").find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    fn describe(&self, finding: Finding<'a>) -> Finding<'a> {
        finding
            .user(self.user)
            .maybe("runAs", self.field("USER"))
            .maybe("terminal", self.field("TTY"))
            .maybe("directory", self.field("PWD"))
            .detail("command", self.command)
    }
}

/// `3 incorrect password attempts`, `1 incorrect password attempt`.
fn incorrect_attempts(reason: &str) -> Option<u32> {
    let (count, rest) = reason.split_once(' ')?;
    rest.starts_with("incorrect password attempt").then(|| count.parse().ok())?
}

/// Whether it went well, the target, who did it, and the terminal. The `+ tty a:b` line of shadow's su says the same
/// once more.
fn parse_su(message: &str) -> Option<(bool, &str, &str, Option<&str>)> {
    for (start, success) in [("Successful su for ", true), ("FAILED su for ", false)] {
        if let Some((user, by)) = message.strip_prefix(start).and_then(|rest| rest.rsplit_once(" by ")) {
            return Some((success, user, by, None));
        }
    }
    let (success, rest) = match message.strip_prefix("FAILED SU ") {
        Some(rest) => (false, rest),
        None => (true, message),
    };
    let (user, rest) = rest.strip_prefix("(to ")?.split_once(") ")?;
    let (by, terminal) = rest.rsplit_once(" on ")?;
    Some((success, user, by, Some(terminal)))
}

/// One run of a program that asks for a password: PAM names the first failure at once and the others at the end, the
/// program itself names all of them when it gives up. Each is counted at its first mention.
struct Run<'h, 'a> {
    header: &'h Header<'a>,
    program: &'static str,
}

impl<'a> Run<'_, 'a> {
    fn attempts<'m>(&self, user: &str, memory: &'m mut Memory) -> &'m mut Attempts {
        memory.attempts.entry((self.program, self.header.host, self.header.pid, user))
    }

    fn forget(&self, user: &str, memory: &mut Memory) {
        memory.attempts.take((self.program, self.header.host, self.header.pid, user));
    }

    /// `None` where the program has named the failures before.
    fn failed_in_pam(
        &self,
        failure: &pam::Failure<'a>,
        memory: &mut Memory,
        times: u32,
    ) -> Option<Finding<'a>> {
        let attempts = self.attempts(failure.user, memory);
        let summed_up = std::mem::take(&mut attempts.summed_up);
        if failure.more.is_some() && summed_up {
            return None;
        }
        let news = failure.more.unwrap_or(1).saturating_mul(times);
        attempts.named_by_pam = attempts.named_by_pam.saturating_add(news);
        let finding = failed_login(failure.user, "password", false)
            .actor(failure.by)
            .address(failure.address)
            .maybe("terminal", Some(failure.terminal).filter(|terminal| !terminal.is_empty()));
        (news > 0).then(|| finding.times(news))
    }

    /// How many of the failures that the program names were not named by PAM before.
    fn sum_up(&self, user: &str, failures: u32, memory: &mut Memory) -> u32 {
        let attempts = self.attempts(user, memory);
        let known = std::mem::take(&mut attempts.named_by_pam);
        attempts.summed_up = true;
        failures.saturating_sub(known)
    }
}
