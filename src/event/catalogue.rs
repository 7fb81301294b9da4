//! The action catalogue: each known action with its fixed code, its category and its default level.
//!
//! Owns the codes that stored records carry instead of the text: a code once given is never changed and never
//! given again, new actions are added at the end. It must not know events.

use super::kinds::{Category, Level};
use super::names::Action;

/// What the catalogue says about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The action's text.
    pub action: &'static str,
    /// The number that stands for it in stored records: 1 to 511, fixed for ever.
    pub code: u16,
    /// The category that an event with this action has unless it is given another.
    pub category: Category,
    /// The level that an event with this action has unless it is given another.
    pub level: Level,
}

impl CatalogueEntry {
    /// The action as the type that builders take.
    ///
    /// ```
    /// use usertrail::event::{Action, lookup};
    ///
    /// assert_eq!(lookup("auth.login").map(|entry| entry.to_action()), Some(Action::AUTH_LOGIN));
    /// ```
    #[must_use]
    pub const fn to_action(&self) -> Action<'static> {
        Action::known(self.action)
    }
}

macro_rules! catalogue {
    ($($code:literal $name:ident = $text:literal, $category:ident, $level:ident, $doc:literal;)+) => {
        /// The catalogue's actions as plain text, for queries and comparisons.
        ///
        /// The same names are constants of the checked type: [`Action::AUTH_LOGIN`](super::Action::AUTH_LOGIN).
        ///
        /// ```
        /// use usertrail::event::{Action, action};
        ///
        /// assert_eq!(action::AUTH_LOGIN, "auth.login");
        /// assert_eq!(Action::AUTH_LOGIN.as_str(), action::AUTH_LOGIN);
        /// ```
        pub mod action {
            $(
                #[doc = concat!("`", $text, "`: ", $doc)]
                pub const $name: &str = $text;
            )+
        }

        impl Action<'static> {
            $(
                #[doc = concat!("`", $text, "`: ", $doc)]
                pub const $name: Self = Self::known($text);
            )+
        }

        static ENTRIES: [CatalogueEntry; COUNT] = [
            $(CatalogueEntry {
                action: $text,
                code: $code,
                category: Category::$category,
                level: Level::$level,
            },)+
        ];

        /// The same texts for the table below, which is made at compile time.
        const TEXTS: [&str; COUNT] = [$($text,)+];
        /// The constants' names.
        #[cfg(test)]
        pub(super) const NAMES: [&str; COUNT] = [$(stringify!($name),)+];
        const COUNT: usize = [$($code,)+].len();
    };
}

catalogue! {
    1 SESSION_CREATED = "session.created", Session, Info, "A session was created.";
    2 SESSION_REVOKED = "session.revoked", Session, Info, "A session was ended by somebody: its user elsewhere, or an administrator.";
    3 SESSION_REVOKED_ALL = "session.revoked_all", Session, Info, "All sessions of a user were ended; details carry `revoked_count`.";
    4 SESSION_LOGIN = "session.login", Session, Info, "A login opened a session.";
    5 SESSION_LOGOUT = "session.logout", Session, Info, "A session was ended by its user.";
    6 SESSION_TIMEOUT = "session.timeout", Session, Info, "A session ended for want of activity, or of age.";
    7 SESSION_EXTENDED = "session.extended", Session, Info, "A session's end was put off.";
    8 SESSION_CONCURRENT_WARNING = "session.concurrent_warning", Session, Warning, "A user has more sessions at once than is usual.";
    9 SESSION_EXPIRED_CLEANUP = "session.expired_cleanup", Session, Info, "Expired sessions were cleared away; details carry `cleaned_up`.";
    10 SESSION_TAMPERING = "session.tampering", Session, Suspicious, "A session's cookie or token was altered.";
    11 SESSION_HIJACK_SUSPECTED = "session.hijack_suspected", Session, Suspicious, "A session seems to be used by somebody else.";
    12 AUTH_LOGIN = "auth.login", Auth, Info, "A login succeeded.";
    13 AUTH_LOGIN_FAILED = "auth.login_failed", Auth, Warning, "A login was refused.";
    14 AUTH_LOGOUT = "auth.logout", Auth, Info, "A user logged out.";
    15 AUTH_REGISTER = "auth.register", Auth, Info, "Somebody registered.";
    16 AUTH_TOKEN_REFRESHED = "auth.token_refreshed", Auth, Info, "An access token was renewed.";
    17 AUTH_PASSWORD_RESET_REQUESTED = "auth.password_reset_requested", Auth, Info, "A password reset was asked for.";
    18 AUTH_PASSWORD_RESET = "auth.password_reset", Auth, Info, "A password was reset without knowing the old one.";
    19 AUTH_PASSWORD_CHANGED = "auth.password_changed", Auth, Info, "A password was changed by somebody who knew the old one.";
    20 AUTH_EMAIL_VERIFIED = "auth.email_verified", Auth, Info, "An email address was proved.";
    21 AUTH_EMAIL_CHANGED = "auth.email_changed", Auth, Info, "An email address was changed.";
    22 AUTH_LOCKOUT = "auth.lockout", Auth, Warning, "An account or an address was locked out after failures.";
    23 AUTH_LOCKOUT_CLEARED = "auth.lockout_cleared", Auth, Info, "A lockout was lifted.";
    24 AUTH_ATTEMPTS_CLEANUP = "auth.attempts_cleanup", Auth, Info, "Old login attempts were cleared away.";
    25 AUTH_RATE_LIMITED = "auth.rate_limited", Auth, Warning, "Requests were refused because there were too many.";
    26 AUTH_QR_GENERATED = "auth.qr_generated", Auth, Info, "A QR code for a login was made.";
    27 AUTH_QR_SCANNED = "auth.qr_scanned", Auth, Info, "A QR code for a login was scanned.";
    28 AUTH_PIN_VERIFIED = "auth.pin_verified", Auth, Info, "A PIN was right.";
    29 AUTH_PIN_FAILED = "auth.pin_failed", Auth, Warning, "A PIN was wrong.";
    30 AUTH_MFA_ENABLED = "auth.mfa_enabled", Auth, Info, "A second factor was set up.";
    31 AUTH_MFA_DISABLED = "auth.mfa_disabled", Auth, Info, "A second factor was removed.";
    32 AUTH_MFA_DENIED = "auth.mfa_denied", Auth, Warning, "A second factor was refused, or its prompt denied.";
    33 AUTH_BACKUP_CODE_USED = "auth.backup_code_used", Auth, Warning, "A backup code stood in for the second factor.";
    34 AUTH_SECURE_ACTION_VERIFIED = "auth.secure_action_verified", Auth, Info, "A sensitive action was confirmed by proving one's identity again.";
    35 TENANT_CREATED = "tenant.created", Admin, Info, "A tenant was created.";
    36 TENANT_UPDATED = "tenant.updated", Admin, Info, "A tenant was changed.";
    37 TENANT_DELETED = "tenant.deleted", Admin, Info, "A tenant was deleted.";
    38 TENANT_ACTIVATED = "tenant.activated", Admin, Info, "A tenant was activated.";
    39 TENANT_DEACTIVATED = "tenant.deactivated", Admin, Info, "A tenant was deactivated.";
    40 TENANT_SUBSCRIPTION_CHANGED = "tenant.subscription_changed", Admin, Info, "A tenant's subscription changed.";
    41 USER_CREATED = "user.created", Account, Info, "An account was created.";
    42 USER_UPDATED = "user.updated", Account, Info, "An account was changed.";
    43 USER_DELETED = "user.deleted", Account, Info, "An account was deleted.";
    44 USER_ACTIVATED = "user.activated", Account, Info, "An account was activated.";
    45 USER_DEACTIVATED = "user.deactivated", Account, Info, "An account was deactivated.";
    46 USER_ROLE_CHANGED = "user.role_changed", Account, Info, "An account's role changed.";
    47 USER_INVITED = "user.invited", Account, Info, "Somebody was invited.";
    48 USER_SUSPENDED = "user.suspended", Account, Warning, "An account was suspended.";
    49 USER_CREDENTIALS_RESET = "user.credentials_reset", Account, Info, "An administrator reset an account's credentials.";
    50 BRANCH_CREATED = "branch.created", Admin, Info, "A branch was created.";
    51 BRANCH_UPDATED = "branch.updated", Admin, Info, "A branch was changed.";
    52 BRANCH_DELETED = "branch.deleted", Admin, Info, "A branch was deleted.";
    53 BRANCH_ACTIVATED = "branch.activated", Admin, Info, "A branch was activated.";
    54 BRANCH_DEACTIVATED = "branch.deactivated", Admin, Info, "A branch was deactivated.";
    55 SETTINGS_UPDATED = "settings.updated", Admin, Info, "Settings were changed.";
    56 MAINTENANCE_PERFORMED = "maintenance.performed", System, Info, "Maintenance was done.";
    57 SECURITY_SUSPICIOUS = "security.suspicious", Security, Suspicious, "Something suspicious was seen.";
    58 STORE_SEGMENT_RETIRED = "store.segment_retired", System, Info, "Written by the store: a segment has gone by the retention policy.";
    59 STORE_USER_ERASED = "store.user_erased", System, Info, "Written by the store: a person's data was erased.";
    60 STORE_HOLD_PLACED = "store.hold_placed", System, Info, "Written by the store: a legal hold was placed.";
    61 STORE_HOLD_RELEASED = "store.hold_released", System, Info, "Written by the store: a legal hold was released.";
    62 SYSTEM_CLOCK_JUMPED = "system.clock_jumped", System, Warning, "Written by the store: the machine's clock jumped forward.";
}

/// A place in the table: the index of an entry, or [`VACANT`].
const VACANT: u8 = u8::MAX;
/// Four times as many places as entries or more, so that a look-up seldom meets a second one.
const PLACES: usize = 256;

const _: () =
    assert!(COUNT < VACANT as usize && COUNT * 2 <= PLACES, "the table is too small for the catalogue");

/// Where to find an action: open addressing, made at compile time.
static TABLE: [u8; PLACES] = make_table();

/// The place at which a search for `text` starts: from the length and up to eight bytes at either end. The
/// catalogue's texts differ there; others that collide are told apart by the comparison.
const fn first_place(text: &[u8]) -> usize {
    let (mut head, mut tail, mut i) = (0_u64, 0_u64, 0);
    while i < 8 && i < text.len() {
        head = head << 8 | text[i] as u64;
        tail = tail << 8 | text[text.len() - 1 - i] as u64;
        i += 1;
    }
    let mixed = (head ^ tail.rotate_left(29) ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the assertion above bounds COUNT; const code has no try_from"
)]
const fn make_table() -> [u8; PLACES] {
    let mut table = [VACANT; PLACES];
    let mut i = 0;
    while i < COUNT {
        let mut place = first_place(TEXTS[i].as_bytes());
        while table[place] != VACANT {
            place = (place + 1) % PLACES;
        }
        table[place] = i as u8;
        i += 1;
    }
    table
}

/// All actions of the catalogue, in the order of their codes.
///
/// ```
/// for entry in usertrail::event::catalogue() {
///     println!("{:3} {:30} {:8} {}", entry.code, entry.action, entry.category, entry.level);
/// }
/// ```
pub fn catalogue() -> &'static [CatalogueEntry] {
    &ENTRIES
}

/// What the catalogue says about `action`, or nothing when it isn't in it.
///
/// Costs a few nanoseconds: one hash of a few bytes, and one comparison as a rule.
///
/// ```
/// use usertrail::event::{Category, Level, lookup};
///
/// let entry = lookup("auth.login_failed").unwrap();
/// assert_eq!((entry.category, entry.level), (Category::Auth, Level::Warning));
/// assert!(lookup("billing.card_added").is_none());
/// ```
pub fn lookup(action: &str) -> Option<&'static CatalogueEntry> {
    let mut place = first_place(action.as_bytes());
    // Ends, since the table is never full.
    loop {
        let entry = ENTRIES.get(usize::from(TABLE[place % PLACES]))?;
        if entry.action == action {
            return Some(entry);
        }
        place += 1;
    }
}

/// The action that `code` stands for in stored records. None for 0 (its text is stored) and for codes of later versions.
///
/// ```
/// use usertrail::event::{action_of_code, lookup};
///
/// let entry = lookup("auth.login").unwrap();
/// assert_eq!(action_of_code(entry.code), Some("auth.login"));
/// assert_eq!(action_of_code(0), None);
/// ```
pub fn action_of_code(code: u16) -> Option<&'static str> {
    // Codes are dense from 1, which a test asserts.
    let index = usize::from(code).checked_sub(1)?;
    ENTRIES.get(index).map(|entry| entry.action)
}
