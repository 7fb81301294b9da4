//! The three closed sets: [`Category`], [`Level`], [`Status`].
//!
//! Owns their texts and their stored codes. It must not know which action has which (see the catalogue).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::EventError;

macro_rules! kind {
    (
        $(#[$doc:meta])*
        $name:ident, $field:literal, $count:literal, $expected:literal
        { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)+
        }

        impl $name {
            /// All there are, in the order of their codes.
            pub const ALL: [Self; $count] = [$(Self::$variant,)+];

            /// The text that stands for it in JSON, on the command line and in queries.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The number that stands for it in stored records. Fixed for ever.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The one that `code` stands for, if any.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// As `from_str`, without the error.
            pub(super) fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = EventError;

            /// Reads the lower-case text.
            ///
            /// # Errors
            ///
            /// Any other text, also one in upper case, is [`Invalid`](super::EventErrorKind::Invalid).
            fn from_str(text: &str) -> Result<Self, EventError> {
                Self::from_text(text).ok_or_else(|| EventError::invalid($field, concat!("must be one of ", $expected)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("one of ", $expected))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::from_str(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

kind! {
    /// What an event is about.
    ///
    /// ```
    /// use usertrail::event::Category;
    ///
    /// assert_eq!("session".parse::<Category>()?, Category::Session);
    /// assert_eq!(Category::Session.to_string(), "session");
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    Category, "category", 7, "auth, security, session, account, admin, data, system" {
        /// Proving who one is: logins, passwords, second factors.
        Auth = 0, "auth";
        /// Attacks, and what looks like one.
        Security = 1, "security";
        /// A session's life.
        Session = 2, "session";
        /// A person's account: made, changed, suspended.
        Account = 3, "account";
        /// Administration: tenants, branches, settings.
        Admin = 4, "admin";
        /// Access to data.
        Data = 5, "data";
        /// The application and the store themselves.
        System = 6, "system";
    }
}

kind! {
    /// How much attention an event asks for.
    ///
    /// ```
    /// use usertrail::event::Level;
    ///
    /// assert!(Level::Warning < Level::Suspicious);
    /// assert!("WARNING".parse::<Level>().is_err());
    /// ```
    Level, "level", 4, "info, warning, error, suspicious" {
        /// As expected.
        Info = 0, "info";
        /// Worth a look when there are many.
        Warning = 1, "warning";
        /// Something broke.
        Error = 2, "error";
        /// Perhaps an attack: a person should look.
        Suspicious = 3, "suspicious";
    }
}

kind! {
    /// How it ended. [`Success`](Self::Success) by default.
    ///
    /// ```
    /// use usertrail::event::Status;
    ///
    /// assert_eq!(Status::default(), Status::Success);
    /// ```
    Status, "status", 3, "success, failure, error" {
        /// It was done.
        Success = 0, "success";
        /// It was refused: a wrong password, a missing permission.
        Failure = 1, "failure";
        /// It could not be tried: the application failed.
        Error = 2, "error";
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the enum is made by a macro that has no place for a default variant"
)]
impl Default for Status {
    fn default() -> Self {
        Self::Success
    }
}
