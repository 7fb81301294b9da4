//! The persons of the story, by the ids that their events carry.
//!
//! Owns names and roles. Must not know what happens to them.

/// Whose log is shown: invited, attacked, locked out, rescued, attacked again.
pub const ALICE: &str = "alice";
/// A colleague with an ordinary log.
pub const BOB: &str = "bob";
/// The tenant's administrator: mostly the actor of what happens to others.
pub const CAROL: &str = "carol";
/// The help desk: lifts lockouts, revokes sessions.
pub const DAVE: &str = "dave";
/// Works at a shared terminal: QR codes and PINs.
pub const ERIN: &str = "erin";
/// Alters a session cookie, and is suspended.
pub const FRANK: &str = "frank";
/// The one whose password the spraying attack guesses.
pub const GRACE: &str = "grace";
/// Leaves the company.
pub const HEIDI: &str = "heidi";

/// The tenant of all of them.
pub const TENANT: &str = "acme";

/// From here somebody tries ten passwords on Alice's account.
pub const BRUTE_FORCE_ADDRESS: &str = "198.51.100.77";
/// From here somebody tries one password on many accounts.
pub const SPRAYING_ADDRESS: &str = "203.0.113.66";
/// From here somebody who knows Alice's password sends prompts to her phone.
pub const FATIGUE_ADDRESS: &str = "198.51.100.78";

/// A person of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The user id.
    pub id: &'static str,
    /// What the person does in the company.
    pub role: &'static str,
    /// What is interesting to see in the person's log, in a sentence.
    pub story: &'static str,
}

/// All of them; the first is the one to show.
pub(super) const MEMBERS: [Member; 8] = [
    member(
        ALICE,
        "accountant",
        "Ten failed logins at night, a lockout that the help desk lifts, and what follows.",
    ),
    member(BOB, "engineer", "Ordinary days, and a change of role by an administrator."),
    member(CAROL, "administrator", "Administers users, branches, settings and the subscription."),
    member(DAVE, "help desk", "Lifts a lockout and revokes sessions: look for him as the actor."),
    member(ERIN, "shop assistant", "Signs in at a shared terminal with a QR code and a PIN."),
    member(FRANK, "contractor", "A tampered session, then a suspension."),
    member(GRACE, "sales", "A password guessed by spraying, and the credentials reset."),
    member(HEIDI, "former employee", "Deactivated on the last day of work, deleted a week later."),
];

const fn member(id: &'static str, role: &'static str, story: &'static str) -> Member {
    Member { id, role, story }
}
