//! The catalogue against the list of what it must hold, written out by hand.

use std::collections::HashSet;

use super::super::*;

/// Prefix, category, actions.
const REQUIRED: [(&str, Category, &str); 10] = [
    (
        "session",
        Category::Session,
        "created revoked revoked_all login logout timeout extended concurrent_warning expired_cleanup tampering \
         hijack_suspected",
    ),
    (
        "auth",
        Category::Auth,
        "login login_failed logout register token_refreshed password_reset_requested password_reset password_changed \
         email_verified email_changed lockout lockout_cleared attempts_cleanup rate_limited qr_generated qr_scanned \
         pin_verified pin_failed mfa_enabled mfa_disabled mfa_denied backup_code_used secure_action_verified",
    ),
    ("tenant", Category::Admin, "created updated deleted activated deactivated subscription_changed"),
    (
        "user",
        Category::Account,
        "created updated deleted activated deactivated role_changed invited suspended credentials_reset",
    ),
    ("branch", Category::Admin, "created updated deleted activated deactivated"),
    ("settings", Category::Admin, "updated"),
    ("maintenance", Category::System, "performed"),
    ("security", Category::Security, "suspicious"),
    ("store", Category::System, "segment_retired user_erased hold_placed hold_released"),
    ("system", Category::System, "clock_jumped"),
];

const WARNINGS: [&str; 9] = [
    "auth.login_failed",
    "auth.lockout",
    "auth.mfa_denied",
    "auth.pin_failed",
    "auth.rate_limited",
    "auth.backup_code_used",
    "session.concurrent_warning",
    "user.suspended",
    "system.clock_jumped",
];
const SUSPICIOUS: [&str; 3] = ["session.tampering", "session.hijack_suspected", "security.suspicious"];

#[test]
fn every_required_action_is_there_with_its_category_and_level() {
    let mut required = HashSet::new();
    for (prefix, category, names) in REQUIRED {
        for name in names.split_whitespace() {
            let text = format!("{prefix}.{name}");
            let entry = lookup(&text).unwrap_or_else(|| panic!("{text} is missing"));
            assert_eq!((entry.action, entry.category), (text.as_str(), category));
            let level = match text.as_str() {
                text if WARNINGS.contains(&text) => Level::Warning,
                text if SUSPICIOUS.contains(&text) => Level::Suspicious,
                _ => Level::Info,
            };
            assert_eq!(entry.level, level, "{text}");
            required.insert(text);
        }
    }
    assert_eq!(required.len(), 62);
    assert_eq!(catalogue().len(), required.len(), "nothing else, nothing twice");
}

#[test]
fn codes_are_dense_and_fixed() {
    for (i, entry) in catalogue().iter().enumerate() {
        assert_eq!(usize::from(entry.code), i + 1, "{}", entry.action);
        assert!(entry.code <= 511);
        assert_eq!(action_of_code(entry.code), Some(entry.action));
        assert_eq!(lookup(entry.action), Some(entry));
        assert!(Action::new(entry.action).is_ok(), "{}", entry.action);
    }
    // Stored records carry these: a change of any of them is a change of the format.
    for (code, action) in
        [(1, "session.created"), (12, "auth.login"), (13, "auth.login_failed"), (35, "tenant.created")]
    {
        assert_eq!(action_of_code(code), Some(action));
    }
    assert_eq!(lookup("system.clock_jumped").map(|entry| entry.code), Some(62));
    for code in [0, 63, 511, 512, u16::MAX] {
        assert_eq!(action_of_code(code), None, "{code}");
    }
}

#[test]
fn what_is_almost_in_the_catalogue_is_not() {
    let odd = [
        "",
        "a",
        "auth",
        "auth.",
        "login",
        "session",
        "auth.login\0",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    for text in odd {
        assert!(lookup(text).is_none(), "{text}");
    }
    for entry in catalogue() {
        let text = entry.action;
        for other in [text.to_uppercase(), format!("{text}x"), format!("x{text}"), text[1..].to_owned()] {
            assert!(lookup(&other).is_none(), "{other}");
        }
        for i in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[i] ^= 1;
            assert!(lookup(std::str::from_utf8(&bytes).unwrap()).is_none(), "{text} {i}");
        }
    }
}

#[test]
fn the_constants_name_the_entries() {
    assert_eq!(action::SESSION_EXPIRED_CLEANUP, "session.expired_cleanup");
    assert_eq!(action::AUTH_SECURE_ACTION_VERIFIED, "auth.secure_action_verified");
    assert_eq!(Action::STORE_SEGMENT_RETIRED.as_str(), action::STORE_SEGMENT_RETIRED);
    assert_eq!(Action::SYSTEM_CLOCK_JUMPED.as_str(), action::SYSTEM_CLOCK_JUMPED);
}

#[test]
fn category_and_level_come_from_the_catalogue_unless_given() {
    for entry in catalogue() {
        let event = NewEvent::builder(entry.to_action()).build().unwrap();
        assert_eq!(
            (event.category(), event.level(), event.action_code()),
            (entry.category, entry.level, entry.code)
        );
        assert_eq!(event.status(), Status::Success);
    }
    let event =
        NewEvent::builder(Action::AUTH_LOGIN).category(Category::Data).level(Level::Error).build().unwrap();
    assert_eq!((event.category(), event.level()), (Category::Data, Level::Error));
}

#[test]
fn an_own_action_needs_category_and_level() {
    let own = || NewEvent::builder(Action::new("own.action").unwrap());
    let missing = |field: &'static str| Err(EventError::new(field, EventErrorKind::Missing));
    assert_eq!(own().build(), missing("category"));
    assert_eq!(own().category(Category::Data).build(), missing("level"));
    assert_eq!(own().level(Level::Info).build(), missing("category"));
    assert_eq!(own().category(Category::Data).level(Level::Info).build().unwrap().action_code(), 0);
}

type Helper = fn(UserId<'static>, SessionId<'static>) -> EventBuilder<'static>;

#[test]
fn helpers_say_what_their_names_say() {
    let user = || UserId::new("u").unwrap();
    let session = || SessionId::new("s").unwrap();
    let own = || Action::new("own.action").unwrap();
    let kinds = |builder: EventBuilder<'_>| {
        let event = builder.build().unwrap();
        (event.category(), event.level(), event.status())
    };
    let data = |builder: EventBuilder<'static>| kinds(builder.category(Category::Data));
    assert_eq!(data(NewEvent::info(own())), (Category::Data, Level::Info, Status::Success));
    assert_eq!(data(NewEvent::warning(own())), (Category::Data, Level::Warning, Status::Success));
    assert_eq!(data(NewEvent::error(own())), (Category::Data, Level::Error, Status::Success));
    assert_eq!(kinds(NewEvent::suspicious(own())), (Category::Security, Level::Suspicious, Status::Success));
    let login = NewEvent::suspicious(Action::AUTH_LOGIN);
    assert_eq!(kinds(login), (Category::Auth, Level::Suspicious, Status::Success));
    assert_eq!(kinds(NewEvent::auth(own())), (Category::Auth, Level::Info, Status::Success));
    assert_eq!(
        kinds(NewEvent::auth(Action::AUTH_PIN_FAILED)),
        (Category::Auth, Level::Warning, Status::Success)
    );
    assert_eq!(kinds(NewEvent::system(own())), (Category::System, Level::Info, Status::Success));

    let with_session: [(Helper, &str); 6] = [
        (NewEvent::login, "auth.login"),
        (NewEvent::logout, "auth.logout"),
        (NewEvent::session_created, "session.created"),
        (NewEvent::session_extended, "session.extended"),
        (NewEvent::session_timeout, "session.timeout"),
        (NewEvent::session_revoked, "session.revoked"),
    ];
    for (helper, action) in with_session {
        let event = helper(user(), session()).build().unwrap();
        assert_eq!((event.action().as_str(), event.status()), (action, Status::Success));
        assert_eq!((event.user_id(), event.session_id()), (Some(&user()), Some(&session())));
    }
    let reason = Message::new("wrong password").unwrap();
    for who in [Some(user()), None] {
        let event = NewEvent::login_failed(who.clone(), reason.clone()).build().unwrap();
        assert_eq!((event.action().as_str(), event.status()), ("auth.login_failed", Status::Failure));
        assert_eq!((event.user_id(), event.message()), (who.as_ref(), Some(&reason)));
    }
    let event = NewEvent::session_cleanup(u64::MAX).build().unwrap();
    assert_eq!(event.details().unwrap().as_str(), r#"{"cleaned_up":18446744073709551615}"#);
    assert_eq!((event.action().as_str(), event.user_id()), ("session.expired_cleanup", None));
    let event =
        NewEvent::session_revoked_all(user(), 3).details(Details::from_json(r#"{"why":1}"#).unwrap()).build();
    assert_eq!(event.unwrap().details().unwrap().as_str(), r#"{"why":1,"revoked_count":3}"#);
}
