//! Attacks on others than Alice: password spraying, a tampered session.
//!
//! Owns these plots. Must not know how detection finds them.

use serde_json::json;

use crate::event::Action;
use crate::workload::generator::Workload;

use super::cast::{CAROL, DAVE, FRANK, GRACE};
use super::posts::{DESK, OFFICE, SPRAYING};
use super::script::{Script, later};

/// How many accounts of other tenants are sprayed.
const SPRAYED: u32 = 48;

pub(super) fn tell(script: &mut Script, background: &Workload) {
    spraying(script, background);
    contractor(script);
}

/// One password, many accounts, a try each: too few for any account's own lockout. One account has it.
fn spraying(script: &mut Script, background: &Workload) {
    let mut at = script.at(9, 13, 2, 0);
    for target in 0..SPRAYED {
        let line = script.line(at, Action::AUTH_LOGIN_FAILED).from(&SPRAYING).failed();
        let details = json!({"attempt": 1, "reason": "wrong_password"});
        if target % 6 == 5 {
            // The attacker's list is out of date: an account that is not there has no trail.
            line.with(&json!({"reason": "unknown_account"})).says("Unknown account").done();
        } else {
            // From the middle of the field, where a user's own log is short enough for it to be seen.
            let rank = background.users() / 2 + target;
            let line = line.of(background.user(rank).as_str()).with(&details);
            let tenant = background.tenant_of_user(rank).map_or("", |tenant| tenant.as_str());
            let line = if tenant.is_empty() { line } else { line.in_tenant(tenant) };
            line.says("Sign-in refused: wrong password").done();
        }
        at = later(at, 18_000 + i64::from(script.rng.below(9_000)));
    }
    let session = script.login(at, GRACE, &SPRAYING, "password");
    let line = script
        .line(later(at, 150), Action::SECURITY_SUSPICIOUS)
        .of(GRACE)
        .from(&SPRAYING)
        .in_session(&session);
    let line = line
        .with(&json!({"rule": "password_spraying", "count": SPRAYED, "key": SPRAYING.address, "risk": 96}));
    line.says("Signed in from an address that has just failed on many accounts").done();
    let at = script.at(9, 13, 31, 12);
    let line =
        script.line(at, Action::USER_CREDENTIALS_RESET).of(GRACE).by(CAROL).from(&OFFICE).on("user", GRACE);
    line.with(&json!({"reason": "password_spraying"})).says("Credentials reset by Carol").done();
    let line = script.line(later(at, 25), Action::SESSION_REVOKED_ALL).of(GRACE).by(CAROL).from(&OFFICE);
    line.with(&json!({"revoked_count": 1})).says("All sessions ended with the reset").done();
    let at = script.at(9, 14, 5, 48);
    script.line(at, Action::AUTH_PASSWORD_RESET).of(GRACE).from(&DESK).says("Password reset").done();
    let session = script.login(later(at, 45_000), GRACE, &DESK, "password");
    let line =
        script.line(later(at, 12_600_000), Action::AUTH_LOGOUT).of(GRACE).from(&DESK).in_session(&session);
    line.says("Signed out").done();
}

/// A session cookie with a role that its owner doesn't have.
fn contractor(script: &mut Script) {
    let at = script.at(14, 9, 10, 0);
    let session = script.login(at, FRANK, &DESK, "password");
    for attempt in 1..=3 {
        let line = script.line(later(at, 600_000 + 41_000 * attempt), Action::SESSION_TAMPERING).of(FRANK);
        let line = line.from(&DESK).in_session(&session).failed();
        let line =
            line.with(&json!({"attempt": attempt, "member": "role", "reason": "bad_signature", "risk": 88}));
        line.says("The session's cookie was altered: its signature does not match").done();
    }
    let at = script.at(14, 9, 26, 30);
    let line = script.line(at, Action::SESSION_REVOKED).of(FRANK).by(DAVE).from(&OFFICE).in_session(&session);
    line.on("session", &session).says("Session revoked by Dave").done();
    let at = script.at(14, 9, 40, 2);
    let line = script.line(at, Action::USER_SUSPENDED).of(FRANK).by(CAROL).from(&OFFICE).on("user", FRANK);
    let line = line.changed(&json!({"state": "active"}), &json!({"state": "suspended"}));
    line.with(&json!({"ticket": "SEC-41"})).says("Account suspended by Carol").done();
    let at = script.at(13, 8, 55, 0);
    script.login_failed(at, FRANK, &DESK, 1, "account_suspended");
}
