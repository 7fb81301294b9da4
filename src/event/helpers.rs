//! The short ways to the usual events: [`NewEvent::login`], [`NewEvent::warning`] and so on.
//!
//! Owns which fields these events can't do without. Each gives a builder, so that more can be said.

use serde_json::Value;

use super::builder::EventBuilder;
use super::catalogue::lookup;
use super::kinds::{Category, Level, Status};
use super::names::{Action, Message, SessionId, UserId};
use super::new_event::NewEvent;

/// By level and by category.
impl<'a> NewEvent<'a> {
    /// An event of level [`Info`](Level::Info). An action that isn't in the catalogue needs a category as well.
    ///
    /// ```
    /// use usertrail::event::{Action, Category, NewEvent};
    ///
    /// let event = NewEvent::info(Action::new("billing.card_added")?).category(Category::Account).build()?;
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn info(action: Action<'a>) -> EventBuilder<'a> {
        Self::builder(action).level(Level::Info)
    }

    /// An event of level [`Warning`](Level::Warning). An action that isn't in the catalogue needs a category as well.
    pub fn warning(action: Action<'a>) -> EventBuilder<'a> {
        Self::builder(action).level(Level::Warning)
    }

    /// An event of level [`Error`](Level::Error). An action that isn't in the catalogue needs a category as well.
    ///
    /// Its status stays [`Success`](Status::Success) unless it is set: that a thing is serious doesn't say how it ended.
    pub fn error(action: Action<'a>) -> EventBuilder<'a> {
        Self::builder(action).level(Level::Error)
    }

    /// An event of level [`Suspicious`](Level::Suspicious), and of category [`Security`](Category::Security) unless
    /// the catalogue says otherwise.
    pub fn suspicious(action: Action<'a>) -> EventBuilder<'a> {
        let category = lookup(action.as_str()).map_or(Category::Security, |entry| entry.category);
        Self::builder(action).level(Level::Suspicious).category(category)
    }

    /// An event of category [`Auth`](Category::Auth), of level [`Info`](Level::Info) unless the catalogue says
    /// otherwise.
    ///
    /// ```
    /// use usertrail::event::{Action, Level, NewEvent};
    ///
    /// assert_eq!(NewEvent::auth(Action::AUTH_LOCKOUT).build()?.level(), Level::Warning);
    /// assert_eq!(NewEvent::auth(Action::new("auth.passkey_added")?).build()?.level(), Level::Info);
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn auth(action: Action<'a>) -> EventBuilder<'a> {
        Self::of_category(action, Category::Auth)
    }

    /// An event of category [`System`](Category::System), of level [`Info`](Level::Info) unless the catalogue says
    /// otherwise.
    pub fn system(action: Action<'a>) -> EventBuilder<'a> {
        Self::of_category(action, Category::System)
    }

    fn of_category(action: Action<'a>, category: Category) -> EventBuilder<'a> {
        let level = lookup(action.as_str()).map_or(Level::Info, |entry| entry.level);
        Self::builder(action).category(category).level(level)
    }
}

/// Logins.
impl<'a> NewEvent<'a> {
    /// `auth.login`: `user` logged in, which opened `session`.
    ///
    /// ```
    /// use usertrail::event::{NewEvent, SessionId, UserId};
    ///
    /// let event = NewEvent::login(UserId::new("u-1042")?, SessionId::new("s-77")?).build()?;
    /// assert_eq!(event.action().as_str(), "auth.login");
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn login(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::AUTH_LOGIN).user(user).session(session)
    }

    /// `auth.logout`: `user` logged out, which ended `session`.
    pub fn logout(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::AUTH_LOGOUT).user(user).session(session)
    }

    /// `auth.login_failed`: a login was refused, with status [`Failure`](Status::Failure). No user when the name that
    /// was tried belongs to nobody; `reason` becomes the message.
    ///
    /// ```
    /// use usertrail::event::{Message, NewEvent, Status, UserId};
    ///
    /// let reason = Message::new("wrong password")?;
    /// let event = NewEvent::login_failed(Some(UserId::new("u-1042")?), reason).build()?;
    /// assert_eq!(event.status(), Status::Failure);
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    ///
    /// The two can't be confused:
    ///
    /// ```compile_fail,E0308
    /// use usertrail::event::{Message, NewEvent, UserId};
    ///
    /// let user = UserId::new("u-1042").unwrap();
    /// NewEvent::login_failed(Some(Message::new("wrong password").unwrap()), user);
    /// ```
    pub fn login_failed(user: Option<UserId<'a>>, reason: Message<'a>) -> EventBuilder<'a> {
        let event = Self::builder(Action::AUTH_LOGIN_FAILED).status(Status::Failure).message(reason);
        match user {
            Some(user) => event.user(user),
            None => event,
        }
    }
}

/// Sessions.
impl<'a> NewEvent<'a> {
    /// `session.created`.
    pub fn session_created(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_CREATED).user(user).session(session)
    }

    /// `session.extended`: the session's end was put off.
    pub fn session_extended(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_EXTENDED).user(user).session(session)
    }

    /// `session.timeout`: the session ended for want of activity, or of age.
    pub fn session_timeout(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_TIMEOUT).user(user).session(session)
    }

    /// `session.revoked`: somebody ended the session. Say who by [`actor`](EventBuilder::actor) if it wasn't the user.
    pub fn session_revoked(user: UserId<'a>, session: SessionId<'a>) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_REVOKED).user(user).session(session)
    }

    /// `session.revoked_all`: all sessions of `user` were ended, `revoked_count` of them, which the details carry.
    ///
    /// ```
    /// use usertrail::event::{NewEvent, UserId};
    ///
    /// let event = NewEvent::session_revoked_all(UserId::new("u-1042")?, 3).build()?;
    /// assert_eq!(event.details().unwrap().as_str(), r#"{"revoked_count":3}"#);
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn session_revoked_all(user: UserId<'a>, revoked_count: u64) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_REVOKED_ALL).user(user).count("revoked_count", revoked_count)
    }

    /// `session.expired_cleanup`: expired sessions were cleared away, `cleaned_up` of them, which the details carry.
    /// Of no user.
    pub fn session_cleanup(cleaned_up: u64) -> EventBuilder<'a> {
        Self::builder(Action::SESSION_EXPIRED_CLEANUP).count("cleaned_up", cleaned_up)
    }
}

/// Changes.
impl<'a> NewEvent<'a> {
    /// Something was changed: an event whose details carry `before` and `after`.
    ///
    /// ```
    /// use serde_json::json;
    /// use usertrail::event::{Action, NewEvent};
    ///
    /// let event = NewEvent::changed(Action::SETTINGS_UPDATED, &json!({"mfa": false}), &json!({"mfa": true})).build()?;
    /// assert_eq!(event.details().unwrap().as_str(), r#"{"before":{"mfa":false},"after":{"mfa":true}}"#);
    /// # Ok::<(), usertrail::event::EventError>(())
    /// ```
    pub fn changed(action: Action<'a>, before: &Value, after: &Value) -> EventBuilder<'a> {
        Self::builder(action).change(before, after)
    }
}
