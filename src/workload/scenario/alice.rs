//! Alice's log: the one to show.
//!
//! Owns her story, from the invitation to the day before `until`. Must not know the others' stories.

use serde_json::json;

use crate::event::{Action, Level, Timestamp};

use super::cast::{ALICE, CAROL, DAVE};
use super::posts::{BRUTE_FORCE, FATIGUE, HOME, HOTEL, OFFICE, PHONE, TERMINAL};
use super::script::{Script, later};

/// Days (before the last) on which her log is written here, and not by the routine of the office.
pub(super) const SCRIPTED_DAYS: [i64; 9] = [27, 26, 15, 13, 6, 4, 3, 2, 1];

pub(super) fn tell(script: &mut Script) {
    first_days(script);
    travel(script);
    shared_terminal(script);
    brute_force(script);
    rescue(script);
    fatigue(script);
    lost_phone(script);
    stolen_session(script);
    promotion(script);
}

fn first_days(script: &mut Script) {
    let at = script.at(27, 9, 2, 11);
    let line = script.line(at, Action::USER_INVITED).of(ALICE).by(CAROL).from(&OFFICE).on("user", ALICE);
    line.with(&json!({"role": "viewer", "valid_hours": 72})).says("Invited to acme by Carol").done();
    let at = script.at(27, 9, 31, 40);
    script
        .line(at, Action::AUTH_REGISTER)
        .of(ALICE)
        .from(&HOME)
        .located(&HOME)
        .says("Account registered")
        .done();
    let at = script.at(27, 9, 33, 5);
    let line = script.line(at, Action::AUTH_EMAIL_VERIFIED).of(ALICE).from(&HOME);
    line.with(&json!({"email": "alice@acme.example"})).says("Email address verified").done();
    let at = script.at(27, 9, 33, 6);
    script.line(at, Action::USER_ACTIVATED).of(ALICE).on("user", ALICE).says("Account activated").done();
    let at = script.at(27, 9, 34, 0);
    let session = script.login(at, ALICE, &HOME, "password");
    let at = script.at(27, 9, 41, 18);
    let line = script.line(at, Action::SETTINGS_UPDATED).of(ALICE).from(&HOME).in_session(&session);
    line.on("settings", "language")
        .changed(&json!({"language": "en"}), &json!({"language": "nl"}))
        .says("Language changed")
        .done();
    let at = script.at(27, 11, 2, 30);
    script.line(at, Action::AUTH_LOGOUT).of(ALICE).from(&HOME).in_session(&session).says("Signed out").done();

    let at = script.at(26, 8, 31, 9);
    script.login_failed(at, ALICE, &OFFICE, 1, "wrong_password");
    let at = script.at(26, 8, 31, 31);
    let session = script.login(at, ALICE, &OFFICE, "password");
    let at = script.at(26, 8, 58, 2);
    let line = script.line(at, Action::USER_ROLE_CHANGED).of(ALICE).by(CAROL).from(&OFFICE).on("user", ALICE);
    let line = line.changed(&json!({"role": "viewer"}), &json!({"role": "editor"}));
    line.says("Role changed from viewer to editor by Carol").done();
    extended(script, 26, &[9, 11, 14], &session);
    let at = script.at(26, 17, 4, 12);
    script
        .line(at, Action::AUTH_LOGOUT)
        .of(ALICE)
        .from(&OFFICE)
        .in_session(&session)
        .says("Signed out")
        .done();
}

fn travel(script: &mut Script) {
    let at = script.at(15, 7, 48, 2);
    let session = script.login(at, ALICE, &HOTEL, "password");
    let line =
        script.line(later(at, 300), Action::SECURITY_SUSPICIOUS).of(ALICE).from(&HOTEL).located(&HOTEL);
    let line =
        line.in_session(&session).with(&json!({"rule": "new_address", "risk": 35})).level(Level::Warning);
    line.says("First sign-in from Lisbon, PT").done();
    let at = script.at(15, 7, 50, 40);
    let line =
        script.line(at, Action::AUTH_SECURE_ACTION_VERIFIED).of(ALICE).from(&HOTEL).in_session(&session);
    line.with(&json!({"action": "confirm_address"})).says("Alice confirmed that it was her").done();
    let at = script.at(15, 9, 20, 0);
    let line = script.line(at, Action::SESSION_TIMEOUT).of(ALICE).in_session(&session);
    line.with(&json!({"idle_seconds": 1800})).says("Session ended after 30 minutes without activity").done();
}

fn shared_terminal(script: &mut Script) {
    let at = script.at(13, 12, 14, 3);
    let line = script.line(at, Action::AUTH_QR_GENERATED).of(ALICE).from(&TERMINAL).located(&TERMINAL);
    line.with(&json!({"valid_seconds": 60})).says("QR code shown on the shared terminal").done();
    let line = script.line(later(at, 9_120), Action::AUTH_QR_SCANNED).of(ALICE).from(&PHONE).located(&PHONE);
    line.says("QR code scanned with the phone").done();
    let line = script.line(later(at, 15_400), Action::AUTH_PIN_FAILED).of(ALICE).from(&TERMINAL).failed();
    line.with(&json!({"attempt": 1, "attempts_max": 3})).says("Wrong PIN").done();
    let line = script.line(later(at, 21_900), Action::AUTH_PIN_VERIFIED).of(ALICE).from(&TERMINAL);
    line.with(&json!({"attempt": 2, "attempts_max": 3})).says("PIN accepted").done();
    let session = script.session();
    let line =
        script.line(later(at, 22_000), Action::SESSION_LOGIN).of(ALICE).from(&TERMINAL).in_session(&session);
    line.with(&json!({"method": "qr"})).says("Signed in on the shared terminal with a QR code").done();
    let line = script.line(later(at, 640_000), Action::SESSION_LOGOUT).of(ALICE).from(&TERMINAL);
    line.in_session(&session).says("Signed out of the shared terminal").done();
}

/// Ten failures in a little more than a minute, at night, from an address that nobody knows.
fn brute_force(script: &mut Script) {
    let start = script.at(6, 2, 47, 8);
    let mut at = start;
    for attempt in 1..=10 {
        script.login_failed(at, ALICE, &BRUTE_FORCE, attempt, "wrong_password");
        at = later(at, 5_000 + i64::from(script.rng.below(4_000)));
    }
    let line = script.line(at, Action::AUTH_LOCKOUT).of(ALICE).from(&BRUTE_FORCE).failed();
    let line = line.with(&json!({"failures": 10, "window_seconds": 3600, "locked_seconds": 28_800}));
    line.says("Account locked after 10 failed attempts").done();
    let line = script.line(later(at, 12), Action::SECURITY_SUSPICIOUS).of(ALICE).from(&BRUTE_FORCE).failed();
    let line =
        line.with(&json!({"rule": "high_failure_rate", "count": 10, "key": BRUTE_FORCE.address, "risk": 90}));
    line.says("Ten failed sign-ins within two minutes from an address never seen before").done();
    for wave in 1..=4 {
        let line =
            script.line(later(at, wave * 7_300), Action::AUTH_RATE_LIMITED).of(ALICE).from(&BRUTE_FORCE);
        line.failed().with(&json!({"retry_after_seconds": 60 * wave})).says("Too many attempts").done();
    }
}

/// The morning after.
fn rescue(script: &mut Script) {
    let at = script.at(6, 8, 29, 50);
    script.login_failed(at, ALICE, &OFFICE, 11, "account_locked");
    let at = script.at(6, 8, 36, 14);
    let line =
        script.line(at, Action::AUTH_LOCKOUT_CLEARED).of(ALICE).by(DAVE).from(&OFFICE).on("user", ALICE);
    let line = line
        .changed(&json!({"locked": true}), &json!({"locked": false}))
        .with(&json!({"ticket": "HELP-2291"}));
    line.says("Lockout lifted by Dave after a call").done();
    let at = script.at(6, 8, 38, 1);
    let line = script.line(at, Action::AUTH_PASSWORD_RESET_REQUESTED).of(ALICE).from(&OFFICE);
    line.says("Password reset requested").done();
    let at = script.at(6, 8, 40, 26);
    script.line(at, Action::AUTH_PASSWORD_RESET).of(ALICE).from(&OFFICE).says("Password reset").done();
    let line = script.line(later(at, 30), Action::SESSION_REVOKED_ALL).of(ALICE).from(&OFFICE);
    line.with(&json!({"revoked_count": 2})).says("All sessions ended after the password reset").done();
    let at = script.at(6, 8, 41, 55);
    let session = script.login(at, ALICE, &OFFICE, "password");
    let at = script.at(6, 8, 46, 33);
    let line = script.line(at, Action::AUTH_MFA_ENABLED).of(ALICE).from(&OFFICE).in_session(&session);
    let line = line.changed(&json!({"mfa": []}), &json!({"mfa": ["push", "backup_codes"]}));
    line.says("Second factor set up").done();
    extended(script, 6, &[10, 13, 15], &session);
    let at = script.at(6, 17, 22, 41);
    script
        .line(at, Action::AUTH_LOGOUT)
        .of(ALICE)
        .from(&OFFICE)
        .in_session(&session)
        .says("Signed out")
        .done();
}

/// Somebody has learnt the password, and hopes that she taps "yes" to be left alone.
fn fatigue(script: &mut Script) {
    let start = script.at(4, 22, 13, 30);
    let mut at = start;
    for prompt in 1..=6 {
        let line =
            script.line(at, Action::AUTH_MFA_DENIED).of(ALICE).from(&FATIGUE).located(&FATIGUE).failed();
        line.with(&json!({"prompt": prompt, "factor": "push"}))
            .says("Sign-in prompt denied on the phone")
            .done();
        at = later(at, 14_000 + i64::from(script.rng.below(9_000)));
    }
    let line = script.line(at, Action::SECURITY_SUSPICIOUS).of(ALICE).from(&FATIGUE).failed();
    let line = line.with(&json!({"rule": "mfa_fatigue", "count": 6, "key": FATIGUE.address, "risk": 95}));
    line.says("Six sign-in prompts denied within two minutes: somebody knows the password").done();
    let at = script.at(4, 22, 24, 9);
    let session = script.login(at, ALICE, &HOME, "password and second factor");
    let at = script.at(4, 22, 26, 47);
    let line = script.line(at, Action::AUTH_PASSWORD_CHANGED).of(ALICE).from(&HOME).in_session(&session);
    line.on("user", ALICE).says("Password changed").done();
    let at = script.at(4, 22, 31, 0);
    script.line(at, Action::AUTH_LOGOUT).of(ALICE).from(&HOME).in_session(&session).says("Signed out").done();
}

fn lost_phone(script: &mut Script) {
    let at = script.at(3, 8, 33, 27);
    let line = script.line(at, Action::AUTH_BACKUP_CODE_USED).of(ALICE).from(&OFFICE).located(&OFFICE);
    line.with(&json!({"codes_left": 9})).says("Signed in with a backup code").done();
    let session = script.login(later(at, 900), ALICE, &OFFICE, "backup code");
    let at = script.at(3, 8, 39, 58);
    let line = script.line(at, Action::AUTH_MFA_DISABLED).of(ALICE).by(DAVE).from(&OFFICE).on("user", ALICE);
    let line = line.changed(&json!({"mfa": ["push", "backup_codes"]}), &json!({"mfa": ["backup_codes"]}));
    line.with(&json!({"ticket": "HELP-2304"})).says("Second factor removed by Dave: phone lost").done();
    let at = script.at(3, 8, 44, 12);
    let line = script.line(at, Action::AUTH_MFA_ENABLED).of(ALICE).from(&OFFICE).in_session(&session);
    let line = line.changed(&json!({"mfa": ["backup_codes"]}), &json!({"mfa": ["passkey", "backup_codes"]}));
    line.says("Passkey set up").done();
    let at = script.at(3, 9, 5, 16);
    let line = script.line(at, Action::AUTH_EMAIL_CHANGED).of(ALICE).from(&OFFICE).in_session(&session);
    let line =
        line.changed(&json!({"email": "alice@acme.example"}), &json!({"email": "a.jansen@acme.example"}));
    line.on("user", ALICE).says("Email address changed").done();
    extended(script, 3, &[10, 12, 15], &session);
    let at = script.at(3, 16, 50, 3);
    script
        .line(at, Action::AUTH_LOGOUT)
        .of(ALICE)
        .from(&OFFICE)
        .in_session(&session)
        .says("Signed out")
        .done();
}

/// One session, two ends of the world.
fn stolen_session(script: &mut Script) {
    let at = script.at(2, 8, 28, 44);
    let session = script.login(at, ALICE, &OFFICE, "passkey");
    extended(script, 2, &[9, 11], &session);
    let at = script.at(2, 11, 52, 6);
    let line = script.line(at, Action::SESSION_EXTENDED).of(ALICE).from(&FATIGUE).located(&FATIGUE);
    line.in_session(&session).says("Session extended by activity").done();
    let line =
        script.line(later(at, 180), Action::SESSION_HIJACK_SUSPECTED).of(ALICE).from(&FATIGUE).failed();
    let line = line.in_session(&session).located(&FATIGUE);
    let line = line.with(&json!({"rule": "impossible_travel", "kilometres": 18_600, "risk": 98}));
    line.says("The session moved to the other side of the world within an hour").done();
    let at = script.at(2, 11, 53, 31);
    let line = script.line(at, Action::SESSION_REVOKED).of(ALICE).by(DAVE).from(&OFFICE).in_session(&session);
    line.on("session", &session).says("Session revoked by Dave").done();
    let at = script.at(2, 12, 20, 17);
    let session = script.login(at, ALICE, &OFFICE, "passkey");
    let at = script.at(2, 12, 41, 10);
    let second = script.login(at, ALICE, &PHONE, "passkey");
    let line = script.line(later(at, 60), Action::SESSION_CONCURRENT_WARNING).of(ALICE).from(&PHONE);
    line.in_session(&second)
        .with(&json!({"sessions": 2}))
        .says("A second session is active on another device")
        .done();
    extended(script, 2, &[14, 15], &session);
    for (at, session) in [(script.at(2, 17, 1, 2), &session), (script.at(2, 21, 40, 0), &second)] {
        let line = script.line(at, Action::SESSION_TIMEOUT).of(ALICE).in_session(session);
        line.with(&json!({"idle_seconds": 1800}))
            .says("Session ended after 30 minutes without activity")
            .done();
    }
}

fn promotion(script: &mut Script) {
    let at = script.at(1, 8, 32, 19);
    let session = script.login(at, ALICE, &OFFICE, "passkey");
    let at = script.at(1, 10, 4, 51);
    let line = script.line(at, Action::USER_ROLE_CHANGED).of(ALICE).by(CAROL).from(&OFFICE).on("user", ALICE);
    let line = line.changed(&json!({"role": "editor"}), &json!({"role": "manager"}));
    line.says("Role changed from editor to manager by Carol").done();
    let at = script.at(1, 10, 21, 7);
    let line =
        script.line(at, Action::AUTH_SECURE_ACTION_VERIFIED).of(ALICE).from(&OFFICE).in_session(&session);
    let line = line.on("payment", "run-118").with(&json!({"amount": "18240.50", "currency": "EUR"}));
    line.says("Confirmed a payment with the passkey").done();
    extended(script, 1, &[11, 14, 16], &session);
    let at = script.at(1, 17, 12, 25);
    script
        .line(at, Action::AUTH_LOGOUT)
        .of(ALICE)
        .from(&OFFICE)
        .in_session(&session)
        .says("Signed out")
        .done();
    let at = script.at(1, 21, 15, 38);
    let session = script.login(at, ALICE, &PHONE, "passkey");
    let at = script.at(1, 21, 16, 2);
    let line = script.line(at, Action::AUTH_TOKEN_REFRESHED).of(ALICE).from(&PHONE).in_session(&session);
    line.with(&json!({"lifetime_seconds": 900})).says("Access token refreshed").done();
}

/// She goes on working, at some minute of these hours.
fn extended(script: &mut Script, days_before: i64, hours: &[i64], session: &str) {
    for &hour in hours {
        let at: Timestamp = script.at(days_before, hour, 5, 0);
        let at = later(at, i64::from(script.rng.below(2_400_000)));
        let line = script.line(at, Action::SESSION_EXTENDED).of(ALICE).from(&OFFICE).in_session(session);
        line.with(&json!({"extended_seconds": 1800})).says("Session extended by activity").done();
    }
}
