//! The checked texts of an event, a type for each: [`UserId`], [`TenantId`], [`Message`], ...
//!
//! Owns their limits' enforcement. A type for each, so that a user id can't be passed where the message belongs.
//! It must not know JSON, nor how a text is stored.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::error::{EventError, EventErrorKind};
use super::limits;

/// Whether a text that is there may be empty.
#[derive(Clone, Copy, PartialEq)]
enum MayBeEmpty {
    Yes,
    No,
}

fn check_text(
    field: &'static str,
    text: &str,
    max_bytes: usize,
    empty: MayBeEmpty,
) -> Result<(), EventError> {
    if text.is_empty() && empty == MayBeEmpty::No {
        return Err(EventError::new(field, EventErrorKind::Empty));
    }
    if text.len() > max_bytes {
        let reason = EventErrorKind::TooLong { max_bytes, actual_bytes: text.len() };
        return Err(EventError::new(field, reason));
    }
    Ok(())
}

fn check_action(text: &str) -> Result<(), EventError> {
    check_text("action", text, limits::ACTION_BYTES_MAX, MayBeEmpty::No)?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(EventError::invalid("action", "must not contain white space or control characters"));
    }
    if !text.contains('.') || text.split('.').any(str::is_empty) {
        let what = "must be at least two non-empty parts joined by dots, as in auth.login";
        return Err(EventError::invalid("action", what));
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $errors:literal, $check:expr) => {
        $(#[$doc])*
        ///
        /// Borrows its text or owns it; [`into_owned`](Self::into_owned) makes one that owns it.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name<'a>(Cow<'a, str>);

        impl<'a> $name<'a> {
            /// Checks the text and takes it as it is: nothing is trimmed, cut or normalised.
            ///
            /// # Errors
            ///
            #[doc = $errors]
            pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, EventError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), EventError> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same, owning its text: copies it if it is borrowed.
            #[must_use]
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }

            /// The same, borrowing its text from this one.
            #[must_use]
            pub fn as_borrowed(&self) -> $name<'_> {
                $name(Cow::Borrowed(&self.0))
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }

        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name<'static> {
            type Err = EventError;

            fn from_str(text: &str) -> Result<Self, EventError> {
                $name::new(text.to_owned())
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = EventError;

            fn try_from(text: &'a str) -> Result<Self, EventError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name<'_> {
            type Error = EventError;

            fn try_from(text: String) -> Result<Self, EventError> {
                Self::new(text)
            }
        }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

/// A type for an id or a name: not empty, and at most `$max` bytes.
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:ident) => {
        text_type! {
            $(#[$doc])*
            $name, $field,
            "[`Empty`](EventErrorKind::Empty) for an empty text, [`TooLong`](EventErrorKind::TooLong) above the limit.",
            |text| check_text($field, text, limits::$max, MayBeEmpty::No)
        }
    };
}

/// A type for free text: at most `$max` bytes, and empty if it likes.
macro_rules! free_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:ident) => {
        text_type! {
            $(#[$doc])*
            $name, $field,
            "[`TooLong`](EventErrorKind::TooLong) above the limit.",
            |text| check_text($field, text, limits::$max, MayBeEmpty::Yes)
        }
    };
}

id_type! {
    /// The person **whose trail** an event stands on: 1 to 256 bytes.
    ///
    /// ```
    /// use usertrail::event::UserId;
    ///
    /// let user = UserId::new("u-1042")?;
    /// assert_eq!(user.as_str(), "u-1042");
    /// assert!(UserId::new("x".repeat(257)).is_err());
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    ///
    /// It is not a message, and the compiler knows:
    ///
    /// ```compile_fail,E0308
    /// use usertrail::event::{Action, NewEvent, UserId};
    ///
    /// let user = UserId::new("u-1042").unwrap();
    /// NewEvent::builder(Action::AUTH_LOGIN).message(user);
    /// ```
    UserId, "userId", USER_ID_BYTES_MAX
}
id_type! {
    /// The tenant (customer, organisation) that an event belongs to: 1 to 256 bytes.
    TenantId, "tenantId", TENANT_ID_BYTES_MAX
}
id_type! {
    /// Who did it, when that is someone else than the user: an administrator, a service. 1 to 256 bytes.
    ActorId, "actorId", ACTOR_ID_BYTES_MAX
}
id_type! {
    /// The session that an event happened in, 1 to 128 bytes. Never a token: whoever reads the log could use it.
    SessionId, "sessionId", SESSION_ID_BYTES_MAX
}
id_type! {
    /// The request that caused an event, as in the application's own logs: 1 to 128 bytes.
    RequestId, "requestId", REQUEST_ID_BYTES_MAX
}
id_type! {
    /// The id of the thing that was touched: 1 to 256 bytes.
    ResourceId, "resourceId", RESOURCE_ID_BYTES_MAX
}
id_type! {
    /// A key by which a repeated append is known to be the same one: 1 to 128 bytes.
    IdempotencyKey, "idempotencyKey", IDEMPOTENCY_KEY_BYTES_MAX
}
id_type! {
    /// The part of the application that wrote an event, as in `billing`: 1 to 100 bytes.
    Service, "service", SERVICE_BYTES_MAX
}
id_type! {
    /// The kind of thing that was touched, as in `user`, `tenant`, `branch`, `settings`: 1 to 100 bytes.
    Resource, "resource", RESOURCE_BYTES_MAX
}
free_type! {
    /// What the client called itself, the `User-Agent` of HTTP: at most 2,048 bytes, possibly empty.
    UserAgent, "userAgent", USER_AGENT_BYTES_MAX
}
free_type! {
    /// A sentence for people: at most 2,048 bytes, possibly empty.
    Message, "message", MESSAGE_BYTES_MAX
}
text_type! {
    /// What happened, as dotted text: at least two non-empty parts, at most 100 bytes, no white space or control
    /// characters.
    ///
    /// The catalogue's actions are constants of this type, [`Action::AUTH_LOGIN`] and so on; own ones are made
    /// with [`Action::new`].
    ///
    /// ```
    /// use usertrail::event::Action;
    ///
    /// assert_eq!(Action::AUTH_LOGIN.as_str(), "auth.login");
    /// assert!(Action::new("billing.card.added").is_ok());
    /// for bad in ["", "login", "auth.", ".login", "auth..login", "auth.log in", "auth.log\n"] {
    ///     assert!(Action::new(bad).is_err(), "{bad:?}");
    /// }
    /// ```
    Action, "action",
    "[`Empty`](EventErrorKind::Empty), [`TooLong`](EventErrorKind::TooLong), or [`Invalid`](EventErrorKind::Invalid) \
     for a text of another form.",
    check_action
}

impl Action<'static> {
    /// An action of the catalogue, whose form a test has checked.
    pub(super) const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}
