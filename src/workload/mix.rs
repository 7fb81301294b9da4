//! What happens how often: the rows of the standard mix, with the words that go with them.
//!
//! Owns the weights, services, resources and messages of background traffic. Must not know users or time.

use crate::event::Status;
use crate::event::action;

use super::facts::Facts;

/// One kind of background event.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) action: &'static str,
    /// How often it occurs among the rows of its table, in proportion.
    pub(super) weight: u32,
    pub(super) status: Status,
    pub(super) service: &'static str,
    pub(super) resource: Option<&'static str>,
    pub(super) by: By,
    pub(super) facts: Facts,
    /// One of these at random.
    pub(super) messages: &'static [&'static str],
}

/// Who is behind an event, which decides what it carries besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The user, within a session: session, address, user agent.
    Session,
    /// Somebody who is not signed in (yet): address, user agent.
    Visitor,
    /// An administrator, about the user: actor and the administrator's address.
    Administrator,
    /// The application itself: none of these.
    Job,
}

const fn row(weight: u32, action: &'static str, service: &'static str, by: By, facts: Facts) -> Row {
    Row { action, weight, status: Status::Success, service, resource: None, by, facts, messages: &[] }
}

impl Row {
    const fn failed(mut self) -> Self {
        self.status = Status::Failure;
        self
    }

    const fn on(mut self, resource: &'static str) -> Self {
        self.resource = Some(resource);
        self
    }

    const fn says(mut self, messages: &'static [&'static str]) -> Self {
        self.messages = messages;
        self
    }
}

/// What occurs on users' trails. The weights add up to 1000.
pub(super) const OF_USERS: [Row; 23] = [
    row(185, action::AUTH_TOKEN_REFRESHED, "gateway", By::Session, Facts::Token)
        .says(&["Access token refreshed", "Access token refreshed ahead of its expiry"]),
    row(170, action::AUTH_LOGIN, "auth", By::Session, Facts::Device).says(&[
        "Signed in with password",
        "Signed in with password and second factor",
        "Signed in with a passkey",
        "Signed in through the company's identity provider",
    ]),
    row(130, action::SESSION_EXTENDED, "gateway", By::Session, Facts::Session)
        .on("session")
        .says(&["Session extended by activity", "Session extended on request of the user"]),
    row(112, action::SESSION_CREATED, "gateway", By::Session, Facts::Session)
        .on("session")
        .says(&["Session created after sign-in", "Session created for a remembered device"]),
    row(62, action::AUTH_LOGIN_FAILED, "auth", By::Visitor, Facts::Attempt).failed().says(&[
        "Wrong password",
        "Wrong one-time code",
        "The account's password has expired",
    ]),
    row(52, action::AUTH_LOGOUT, "auth", By::Session, Facts::Session)
        .says(&["Signed out", "Signed out on all devices"]),
    row(46, action::SESSION_TIMEOUT, "gateway", By::Session, Facts::Session)
        .on("session")
        .says(&["Session ended after 30 minutes without activity", "Session ended at its maximum age"]),
    row(40, action::AUTH_QR_GENERATED, "qr-login", By::Visitor, Facts::Device)
        .says(&["QR code shown for sign-in on a shared terminal"]),
    row(35, action::AUTH_QR_SCANNED, "qr-login", By::Session, Facts::Device)
        .says(&["QR code scanned with a signed-in phone"]),
    row(30, action::AUTH_PIN_VERIFIED, "qr-login", By::Session, Facts::Attempt)
        .says(&["PIN accepted after QR sign-in"]),
    row(26, action::AUTH_SECURE_ACTION_VERIFIED, "auth", By::Session, Facts::Device).on("payment").says(&[
        "Confirmed a payment with the second factor",
        "Confirmed an export of data with the second factor",
    ]),
    row(22, action::USER_UPDATED, "accounts", By::Session, Facts::Profile)
        .on("user")
        .says(&["Profile updated", "Contact details updated"]),
    row(14, action::SETTINGS_UPDATED, "accounts", By::Session, Facts::Setting).on("settings").says(&[
        "Notification settings changed",
        "Privacy settings changed",
        "Language and region changed",
    ]),
    row(12, action::AUTH_PIN_FAILED, "qr-login", By::Visitor, Facts::Attempt)
        .failed()
        .says(&["Wrong PIN after QR sign-in"]),
    row(10, action::SESSION_CONCURRENT_WARNING, "gateway", By::Session, Facts::Session)
        .on("session")
        .says(&["A second session is active from another address"]),
    row(10, action::SESSION_REVOKED, "gateway", By::Session, Facts::Session)
        .on("session")
        .says(&["Session revoked by its user on another device"]),
    row(9, action::AUTH_PASSWORD_RESET_REQUESTED, "auth", By::Visitor, Facts::Device)
        .says(&["Password reset requested, message sent to the registered address"]),
    row(8, action::AUTH_PASSWORD_CHANGED, "accounts", By::Session, Facts::Device)
        .on("user")
        .says(&["Password changed"]),
    row(8, action::AUTH_EMAIL_VERIFIED, "accounts", By::Visitor, Facts::Device)
        .on("user")
        .says(&["Email address verified"]),
    row(6, action::AUTH_REGISTER, "accounts", By::Visitor, Facts::Device)
        .on("user")
        .says(&["Account registered"]),
    row(5, action::AUTH_MFA_DENIED, "auth", By::Visitor, Facts::Attempt)
        .failed()
        .says(&["Second factor denied on the user's phone", "No answer from the user's phone"]),
    row(4, action::AUTH_LOCKOUT, "auth", By::Visitor, Facts::Attempt)
        .failed()
        .says(&["Account locked for 15 minutes after repeated failures"]),
    row(4, action::USER_ROLE_CHANGED, "admin", By::Administrator, Facts::Role)
        .on("user")
        .says(&["Role changed by an administrator"]),
];

/// What stands on nobody's trail.
pub(super) const WITHOUT_USER: [Row; 3] = [
    row(600, action::AUTH_LOGIN_FAILED, "auth", By::Visitor, Facts::Attempt)
        .failed()
        .says(&["Unknown account", "Unknown account, address watched"]),
    row(250, action::SESSION_EXPIRED_CLEANUP, "janitor", By::Job, Facts::Cleanup)
        .says(&["Expired sessions removed"]),
    row(150, action::MAINTENANCE_PERFORMED, "janitor", By::Job, Facts::Job).on("maintenance").says(&[
        "Search index rebuilt",
        "Statistics of the tables refreshed",
        "Backup finished and verified",
    ]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::lookup;

    #[test]
    fn twenty_five_actions_of_the_catalogue() {
        let rows = || OF_USERS.iter().chain(&WITHOUT_USER);
        let actions: BTreeSet<&str> = rows().map(|row| row.action).collect();
        assert_eq!(actions.len(), 25);
        assert!(actions.iter().all(|action| lookup(action).is_some()));
        assert!(rows().all(|row| row.weight > 0 && !row.messages.is_empty()));
        assert_eq!(OF_USERS.iter().map(|row| row.weight).sum::<u32>(), 1_000);
        assert_eq!(WITHOUT_USER.iter().map(|row| row.weight).sum::<u32>(), 1_000);
    }
}
