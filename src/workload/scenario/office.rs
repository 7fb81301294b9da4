//! Ordinary days: the cast at work, and what administrators and nightly jobs do.
//!
//! Owns the routine and the administration. Must not know the attacks.

use serde_json::json;

use crate::event::Action;

use super::alice::SCRIPTED_DAYS;
use super::cast::{ALICE, BOB, CAROL, DAVE, ERIN, GRACE, HEIDI};
use super::posts::{ANDROID, DESK, HOME, OFFICE, PHONE, TERMINAL};
use super::script::{Post, Script, later};

/// How many days before the last the story begins.
pub(super) const DAYS: i64 = 28;

pub(super) fn tell(script: &mut Script) {
    for days_before in (1..=DAYS).rev() {
        nightly_jobs(script, days_before);
        if script.is_working_day(days_before) {
            let alice_is_in = days_before < 26 && !SCRIPTED_DAYS.contains(&days_before);
            if alice_is_in {
                working_day(script, days_before, ALICE, &OFFICE, &HOME);
            }
            working_day(script, days_before, BOB, &DESK, &ANDROID);
            working_day(script, days_before, CAROL, &OFFICE, &PHONE);
            working_day(script, days_before, DAVE, &DESK, &ANDROID);
            if days_before > 10 {
                working_day(script, days_before, HEIDI, &DESK, &ANDROID);
            }
            terminal_day(script, days_before);
        }
    }
    accounts(script);
    leaving(script);
    tenants(script);
    branches(script);
    settings(script);
}

/// A login, some activity, a logout or a timeout, and on some evenings a look from elsewhere.
fn working_day(script: &mut Script, days_before: i64, user: &'static str, desk: &Post, evening: &Post) {
    let minute = i64::from(script.rng.below(45));
    let at = script.at(days_before, 8, minute, minute % 7 * 8);
    if script.rng.chance(120) {
        script.login_failed(later(at, -21_000), user, desk, 1, "wrong_password");
    }
    // Alice has a second factor since the morning after the attack.
    let method = if user == ALICE && days_before < 6 { "password and second factor" } else { "password" };
    let session = script.login(at, user, desk, method);
    let mut hour = 9 + i64::from(script.rng.below(2));
    while hour < 16 {
        let minute = i64::from(script.rng.below(60));
        let at = script.at(days_before, hour, minute, 12);
        let line = script.line(at, Action::SESSION_EXTENDED).of(user).from(desk).in_session(&session);
        line.with(&json!({"extended_seconds": 1800})).says("Session extended by activity").done();
        hour += 2 + i64::from(script.rng.below(3));
    }
    let minute = i64::from(script.rng.below(55));
    let at = script.at(days_before, 17, minute, 40);
    if script.rng.chance(750) {
        script
            .line(at, Action::AUTH_LOGOUT)
            .of(user)
            .from(desk)
            .in_session(&session)
            .says("Signed out")
            .done();
    } else {
        let line = script.line(at, Action::SESSION_TIMEOUT).of(user).in_session(&session);
        line.with(&json!({"idle_seconds": 1800}))
            .says("Session ended after 30 minutes without activity")
            .done();
    }
    if script.rng.chance(250) {
        let minute = i64::from(script.rng.below(60));
        let at = script.at(days_before, 20, minute, 3);
        let session = script.login(at, user, evening, method);
        let line = script.line(later(at, 840_000), Action::AUTH_TOKEN_REFRESHED).of(user).from(evening);
        let line = line.in_session(&session).with(&json!({"lifetime_seconds": 900}));
        line.says("Access token refreshed").done();
        let line = script.line(later(at, 2_700_000), Action::SESSION_TIMEOUT).of(user).in_session(&session);
        line.with(&json!({"idle_seconds": 1800}))
            .says("Session ended after 30 minutes without activity")
            .done();
    }
}

/// Erin signs in at the terminal whenever a customer waits.
fn terminal_day(script: &mut Script, days_before: i64) {
    for hour in [10, 13, 16] {
        let minute = i64::from(script.rng.below(40));
        let at = script.at(days_before, hour, minute, 20);
        let line = script.line(at, Action::AUTH_QR_GENERATED).of(ERIN).from(&TERMINAL);
        line.with(&json!({"valid_seconds": 60})).says("QR code shown on the shared terminal").done();
        let line =
            script.line(later(at, 6_400), Action::AUTH_QR_SCANNED).of(ERIN).from(&ANDROID).located(&ANDROID);
        line.says("QR code scanned with the phone").done();
        let mistakes = i64::from(script.rng.below(8) / 6);
        for attempt in 1..=mistakes {
            let line = script.line(later(at, 8_000 + 2_000 * attempt), Action::AUTH_PIN_FAILED).of(ERIN);
            let line = line.from(&TERMINAL).failed().with(&json!({"attempt": attempt, "attempts_max": 3}));
            line.says("Wrong PIN").done();
        }
        let line = script.line(later(at, 14_700), Action::AUTH_PIN_VERIFIED).of(ERIN).from(&TERMINAL);
        line.with(&json!({"attempt": mistakes + 1, "attempts_max": 3})).says("PIN accepted").done();
        let session = script.session();
        let line = script.line(later(at, 14_800), Action::SESSION_LOGIN).of(ERIN).from(&TERMINAL);
        let line = line.in_session(&session).located(&TERMINAL).with(&json!({"method": "qr"}));
        line.says("Signed in on the shared terminal with a QR code").done();
        let line = script.line(later(at, 900_000), Action::SESSION_LOGOUT).of(ERIN).from(&TERMINAL);
        line.in_session(&session).says("Signed out of the shared terminal").done();
    }
}

/// On nobody's trail.
fn nightly_jobs(script: &mut Script, days_before: i64) {
    let (sessions, attempts, took) =
        (400 + script.rng.below(900), 150 + script.rng.below(300), 41 + script.rng.below(30));
    let at = script.at(days_before, 3, 0, 2);
    let line = script.line(at, Action::MAINTENANCE_PERFORMED).on("maintenance", "backup");
    line.with(&json!({"job": "backup", "took_seconds": took})).says("Backup finished and verified").done();
    let at = script.at(days_before, 3, 10, 0);
    let line = script.line(at, Action::SESSION_EXPIRED_CLEANUP).with(&json!({"cleaned_up": sessions}));
    line.says(format!("{sessions} expired sessions removed")).done();
    let at = script.at(days_before, 3, 10, 5);
    let line = script.line(at, Action::AUTH_ATTEMPTS_CLEANUP).with(&json!({"cleaned_up": attempts}));
    line.says(format!("{attempts} old sign-in attempts removed")).done();
}

fn accounts(script: &mut Script) {
    let at = script.at(25, 9, 40, 0);
    let line = script.line(at, Action::USER_CREATED).of(GRACE).by(CAROL).from(&OFFICE).on("user", GRACE);
    line.with(&json!({"role": "sales"})).says("Account created by Carol").done();
    let at = script.at(12, 10, 12, 44);
    let line = script.line(at, Action::USER_ROLE_CHANGED).of(BOB).by(CAROL).from(&OFFICE).on("user", BOB);
    let line = line.changed(&json!({"role": "engineer"}), &json!({"role": "lead engineer"}));
    line.says("Role changed from engineer to lead engineer by Carol").done();
    let at = script.at(11, 14, 3, 9);
    let line = script.line(at, Action::USER_UPDATED).of(BOB).from(&DESK).on("user", BOB);
    let line = line.changed(&json!({"phone": "+31 20 555 0101"}), &json!({"phone": "+31 20 555 0199"}));
    line.says("Phone number changed").done();
}

/// Heidi's last day, and the end of her account.
fn leaving(script: &mut Script) {
    let at = script.at(10, 16, 30, 0);
    let line = script.line(at, Action::USER_DEACTIVATED).of(HEIDI).by(CAROL).from(&OFFICE).on("user", HEIDI);
    let line = line.changed(&json!({"active": true}), &json!({"active": false}));
    line.says("Account deactivated by Carol: last day of work").done();
    let line = script.line(later(at, 35), Action::SESSION_REVOKED_ALL).of(HEIDI).by(CAROL).from(&OFFICE);
    line.with(&json!({"revoked_count": 1})).says("All sessions ended with the deactivation").done();
    let at = script.at(8, 19, 2, 10);
    script.login_failed(at, HEIDI, &ANDROID, 1, "account_deactivated");
    let at = script.at(3, 9, 30, 0);
    let line = script.line(at, Action::USER_DELETED).of(HEIDI).by(CAROL).from(&OFFICE).on("user", HEIDI);
    line.with(&json!({"retained_days": 365}))
        .says("Account deleted by Carol, a week after the last day")
        .done();
}

/// Carol's own company, and one that didn't stay.
fn tenants(script: &mut Script) {
    let at = script.at(20, 11, 0, 0);
    let line =
        script.line(at, Action::TENANT_SUBSCRIPTION_CHANGED).of(CAROL).from(&OFFICE).on("tenant", "acme");
    let line = line.changed(&json!({"plan": "team", "seats": 20}), &json!({"plan": "business", "seats": 50}));
    line.says("Subscription changed from team to business").done();
    let at = script.at(20, 11, 6, 0);
    let line = script.line(at, Action::TENANT_UPDATED).of(CAROL).from(&OFFICE).on("tenant", "acme");
    let line = line.changed(&json!({"name": "Acme"}), &json!({"name": "Acme Clinics"}));
    line.says("Name of the tenant changed").done();
    for (days_before, action, says) in [
        (19, Action::TENANT_CREATED, "Tenant globex created for a trial"),
        (19, Action::TENANT_ACTIVATED, "Trial of globex started"),
        (5, Action::TENANT_DEACTIVATED, "Trial of globex ended"),
        (4, Action::TENANT_DELETED, "Tenant globex deleted"),
    ] {
        let minute = 1 + i64::from(script.rng.below(9));
        let at = script.at(days_before, 15, if says.contains("started") { 10 + minute } else { minute }, 30);
        script
            .line(at, action)
            .of(CAROL)
            .in_tenant("globex")
            .from(&OFFICE)
            .on("tenant", "globex")
            .says(says)
            .done();
    }
}

fn branches(script: &mut Script) {
    for (days_before, action, says) in [
        (18, Action::BRANCH_CREATED, "Branch Haarlem created"),
        (17, Action::BRANCH_ACTIVATED, "Branch Haarlem opened"),
        (5, Action::BRANCH_DEACTIVATED, "Branch Haarlem closed for rebuilding"),
    ] {
        let at = script.at(days_before, 10, 15, 0);
        script.line(at, action).of(CAROL).from(&OFFICE).on("branch", "haarlem").says(says).done();
    }
    let at = script.at(16, 10, 20, 0);
    let line = script.line(at, Action::BRANCH_UPDATED).of(CAROL).from(&OFFICE).on("branch", "haarlem");
    let line = line.changed(&json!({"closes": "18:00"}), &json!({"closes": "20:00"}));
    line.says("Opening hours of Haarlem changed").done();
    let at = script.at(16, 10, 41, 0);
    let line = script.line(at, Action::BRANCH_DELETED).of(CAROL).from(&OFFICE).on("branch", "leiden");
    line.says("Branch Leiden deleted").done();
}

fn settings(script: &mut Script) {
    let at = script.at(6, 10, 15, 0);
    let line = script.line(at, Action::SETTINGS_UPDATED).of(CAROL).from(&OFFICE).on("settings", "lockout");
    let line = line.changed(&json!({"failures_max": 10}), &json!({"failures_max": 5}));
    line.says("Lockout after five failures from now on").done();
    let at = script.at(4, 9, 0, 30);
    let line = script.line(at, Action::SETTINGS_UPDATED).of(CAROL).from(&OFFICE).on("settings", "mfa");
    let line = line.changed(&json!({"mfa_required": false}), &json!({"mfa_required": true}));
    line.says("Second factor required from now on").done();
}
