//! Owns the messages of the programs that make and change accounts: useradd, groupadd, usermod, gpasswd, userdel,
//! groupdel, passwd and chpasswd. Must not know frames and stamps.

use super::finding::Finding;
use super::pam;
use crate::event::{Category, action};

/// What a message of one of these programs means.
pub(super) fn interpret(message: &str) -> Option<Finding<'_>> {
    if let Some(fields) = message.strip_prefix("new user: ") {
        return Some(created(fields));
    }
    if let Some(fields) = message.strip_prefix("new group: ") {
        let name = field(fields, "name")?;
        let finding = Finding::new("group.created", Category::Account).resource("group", name);
        return Some(finding.maybe("gid", field(fields, "GID").and_then(number)));
    }
    if let Some((user, _)) =
        message.strip_prefix("failed adding user '").and_then(|rest| rest.rsplit_once('\''))
    {
        return Some(account("user.create_failed", user).failed());
    }
    if let Some(user) = message.strip_prefix("delete user '").and_then(|rest| rest.strip_suffix('\'')) {
        return Some(account(action::USER_DELETED, user));
    }
    membership(message).or_else(|| pam::password_changed(message))
}

fn created(fields: &str) -> Finding<'_> {
    account(action::USER_CREATED, field(fields, "name").unwrap_or_default())
        .maybe("uid", field(fields, "UID").and_then(number))
        .maybe("gid", field(fields, "GID").and_then(number))
        .maybe("home", field(fields, "home"))
        .maybe("shell", field(fields, "shell"))
}

/// `add 'NAME' to group 'GROUP'`, `delete 'NAME' from group 'GROUP'`. The same for the shadow group says it twice.
fn membership(message: &str) -> Option<Finding<'_>> {
    let (start, middle, change) = match message.as_bytes().first()? {
        b'a' => ("add '", "' to group '", "added"),
        _ => ("delete '", "' from group '", "removed"),
    };
    let (user, group) = message.strip_prefix(start)?.strip_suffix('\'')?.rsplit_once(middle)?;
    Some(account(action::USER_ROLE_CHANGED, user).detail("group", group).detail("change", change))
}

fn account<'a>(action: &'static str, user: &'a str) -> Finding<'a> {
    Finding::new(action, Category::Account).user(user).resource("user", user)
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.split(", ").find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}
