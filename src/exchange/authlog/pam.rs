//! Owns the messages of `pam_unix`, which sshd, sudo and su log under their own names. Must not know who logs them.

use super::finding::Finding;
use crate::event::{Category, action};

/// A failure as PAM words it: once `authentication failure`, and the others of the same run at its end as a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure<'a> {
    /// `Some` for `PAM N more authentication failures`.
    pub(super) more: Option<u32>,
    pub(super) user: &'a str,
    pub(super) by: &'a str,
    pub(super) address: &'a str,
    pub(super) terminal: &'a str,
}

/// The text behind `pam_unix(SERVICE:KIND): `.
fn strip_unix<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let (service, rest) = text.strip_prefix("pam_unix(")?.split_once("): ")?;
    (service.rsplit(':').next() == Some(kind)).then_some(rest)
}

/// `session opened for user NAME by ACTOR(uid=N)`, `session closed for user NAME`.
pub(super) fn session(text: &str) -> Option<Finding<'_>> {
    let text = strip_unix(text, "session")?;
    if let Some(user) = text.strip_prefix("session closed for user ") {
        return Some(Finding::new(action::SESSION_LOGOUT, Category::Session).user(without_uid(user)));
    }
    let opened = text.strip_prefix("session opened for user ")?;
    let (user, by) = opened.rsplit_once(" by ").unwrap_or((opened, ""));
    let by = without_uid(by);
    let finding = Finding::new(action::SESSION_CREATED, Category::Session).user(without_uid(user));
    // login(1) and sshd have nobody's name to give; PAM then says LOGIN or nothing.
    Some(if by == "LOGIN" { finding } else { finding.actor(by) })
}

/// `password changed for NAME`.
pub(super) fn password_changed(text: &str) -> Option<Finding<'_>> {
    let user = strip_unix(text, "chauthtok")?.strip_prefix("password changed for ")?;
    Some(Finding::new(action::AUTH_PASSWORD_CHANGED, Category::Auth).user(user))
}

/// `authentication failure; logname=A uid=0 euid=0 tty=T ruser=R rhost=H  user=U`, or `PAM N more ...`.
pub(super) fn failure(text: &str) -> Option<Failure<'_>> {
    let (more, fields) = if let Some(rest) = strip_unix(text, "auth") {
        (None, rest.strip_prefix("authentication failure;")?)
    } else {
        let (count, rest) = text.strip_prefix("PAM ")?.split_once(" more authentication failure")?;
        (Some(count.parse().ok()?), rest.strip_prefix("s;").or_else(|| rest.strip_prefix(';'))?)
    };
    // The user comes last and may hold blanks; in the others, a blank ends the value.
    let (fields, user) = fields.split_once(" user=").unwrap_or((fields, ""));
    let field = |name: &str| {
        fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let by = if field("ruser").is_empty() { field("logname") } else { field("ruser") };
    Some(Failure { more, user, by, address: field("rhost"), terminal: field("tty") })
}

fn without_uid(name: &str) -> &str {
    match name.rsplit_once("(uid=") {
        Some((bare, uid)) if uid.ends_with(')') => bare,
        _ => name,
    }
}
