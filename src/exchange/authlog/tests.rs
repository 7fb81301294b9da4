//! Each shape of line, alone: what becomes of it, and that it can't be made into something else by the names in it.

use super::*;
use crate::event::{ActorId, Level, NewEvent, Status, UserId};
use serde_json::Value;

fn parser() -> Parser {
    Parser::new(Some(2024), time("2024-06-01T00:00:00Z"))
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn parse_with(parser: &mut Parser, line: &str) -> Vec<NewEvent<'static>> {
    match parser.parse(line.as_bytes()) {
        Ok(Parsed::Event { event, times }) => vec![*event; times as usize],
        Ok(Parsed::Ignored) => vec![],
        Err(error) => panic!("{line}: {error}"),
    }
}

/// The events of messages of one run of a program, in order.
fn messages(tag: &str, messages: &[&str]) -> Vec<NewEvent<'static>> {
    let mut parser = parser();
    messages
        .iter()
        .flat_map(|message| parse_with(&mut parser, &format!("Mar 27 13:06:56 web {tag}: {message}")))
        .collect()
}

fn sshd(message: &str) -> NewEvent<'static> {
    let mut events = messages("sshd[7]", &[message]);
    assert_eq!(events.len(), 1, "{message}");
    events.remove(0)
}

fn user<'e>(event: &'e NewEvent<'_>) -> Option<&'e str> {
    event.user_id().map(UserId::as_str)
}

fn actor<'e>(event: &'e NewEvent<'_>) -> Option<&'e str> {
    event.actor_id().map(ActorId::as_str)
}

fn detail(event: &NewEvent<'_>, name: &str) -> Value {
    let details: Value = serde_json::from_str(event.details().unwrap().as_str()).unwrap();
    details[name].clone()
}

fn actions(events: &[NewEvent<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{}:{}", event.action().as_str(), user(event).unwrap_or("-"))).collect()
}

fn fault(line: &str) -> (String, String) {
    let error = parser().parse(line.as_bytes()).unwrap_err();
    (error.field().to_owned(), error.reason().to_string())
}

#[test]
fn a_failed_password_has_all_its_parts() {
    let event = sshd("Failed password for invalid user bob from 192.0.2.7 port 54259 ssh2");
    assert_eq!(event.action().as_str(), "auth.login_failed");
    assert_eq!(user(&event), Some("bob"));
    assert_eq!(event.status(), Status::Failure);
    assert_eq!(event.level(), Level::Warning);
    assert_eq!(event.category(), Category::Auth);
    assert_eq!(event.service().unwrap().as_str(), "sshd");
    assert_eq!(event.ip_address(), Some("192.0.2.7".parse().unwrap()));
    assert_eq!(event.occurred_at(), Some(time("2024-03-27T13:06:56Z")));
    assert_eq!(detail(&event, "address"), "192.0.2.7");
    assert_eq!(detail(&event, "port"), 54259);
    assert_eq!(detail(&event, "method"), "password");
    assert_eq!(detail(&event, "invalidUser"), true);
    assert_eq!(detail(&event, "host"), "web");
    assert_eq!(detail(&event, "pid"), 7);
}

#[test]
fn tried_names_are_taken_whole() {
    let forged = "root from 10.0.0.1 port 22 ssh2: RSA SHA256:AAAA";
    for (name, rest) in [
        ("a b", "ssh2"),
        (" lead", "ssh2"),
        ("from", "ssh2"),
        ("bob from accounting", "ssh2"),
        ("bob from 10.0.0.1 port 22 ssh2", "ssh2"),
        ("invalid user x", "ssh2"),
        (forged, "ssh2: ED25519 SHA256:Kl8kPGZrTiz7g4FO1hyqHdsSBBb5Fge6NWOobN03XJg"),
        ("x for y", "ssh2"),
        ("\\303\\251", "ssh2"),
    ] {
        let event = sshd(&format!("Failed password for invalid user {name} from 192.0.2.7 port 5 {rest}"));
        assert_eq!(user(&event), Some(name));
        assert_eq!(event.ip_address(), Some("192.0.2.7".parse().unwrap()), "{name}");
    }
}

#[test]
fn a_certificate_can_not_forge_the_address() {
    let event = sshd(
        "Failed publickey for root from 192.0.2.7 port 5 ssh2: RSA-CERT ID x from 10.0.0.1 port 9 ssh2: y (serial 0) CA RSA SHA256:AAAA",
    );
    assert_eq!(user(&event), Some("root"));
    assert_eq!(detail(&event, "address"), "192.0.2.7");
}

#[test]
fn an_empty_name_gives_an_event_without_user() {
    for message in [
        "Failed none for invalid user  from 1.2.3.4 port 5 ssh2",
        "Failed none for invalid user from 1.2.3.4 port 5 ssh2",
        "Failed password for  from 1.2.3.4 port 5 ssh2",
    ] {
        let event = sshd(message);
        assert_eq!(user(&event), None, "{message}");
        assert_eq!(detail(&event, "address"), "1.2.3.4");
    }
}

#[test]
fn addresses_of_every_kind() {
    for (address, ip) in [
        ("2001:db8::1", Some("2001:db8::1")),
        ("::ffff:192.0.2.7", Some("192.0.2.7")),
        ("fe80::1%eth0", Some("fe80::1")),
        ("UNKNOWN", None),
        ("host.example.org", None),
    ] {
        let event = sshd(&format!(
            "Failed keyboard-interactive/pam for root from {address} port 65535 ssh2 [preauth]"
        ));
        assert_eq!(event.ip_address(), ip.map(|ip| ip.parse().unwrap()), "{address}");
        assert_eq!(detail(&event, "address"), address);
        assert_eq!(detail(&event, "method"), "keyboard-interactive/pam");
    }
}

#[test]
fn every_method_counts() {
    for method in
        ["password", "publickey", "none", "hostbased", "gssapi-with-mic", "keyboard-interactive/pam"]
    {
        let event = sshd(&format!("Failed {method} for root from 1.2.3.4 port 5 ssh2"));
        assert_eq!(event.action().as_str(), "auth.login_failed");
        assert_eq!(detail(&event, "method"), method);
        assert_eq!(detail(&event, "invalidUser"), false);
    }
}

#[test]
fn accepted_and_disconnected() {
    let event = sshd("Accepted publickey for ubuntu from 1.2.3.4 port 51816 ssh2: RSA SHA256:Kl8k");
    assert_eq!((event.action().as_str(), user(&event)), ("auth.login", Some("ubuntu")));
    assert_eq!(detail(&event, "key"), "RSA SHA256:Kl8k");
    assert_eq!(event.status(), Status::Success);
    let event = sshd("Disconnected from user a b 1.2.3.4 port 5");
    assert_eq!((event.action().as_str(), user(&event)), ("auth.logout", Some("a b")));
    assert_eq!(detail(&event, "port"), 5);
    assert!(
        messages(
            "sshd[7]",
            &[
                "Disconnected from 1.2.3.4 port 5",
                "Disconnecting user alice 1.2.3.4 port 5: idle",
                "Partial password for a from 1.2.3.4 port 5 ssh2"
            ]
        )
        .is_empty()
    );
}

#[test]
fn one_attempt_is_one_event() {
    let events = messages(
        "sshd[7]",
        &[
            "Invalid user bob from 1.2.3.4 port 5",
            "input_userauth_request: invalid user bob [preauth]",
            "pam_unix(sshd:auth): check pass; user unknown",
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4",
            "Failed password for invalid user bob from 1.2.3.4 port 5 ssh2",
            "message repeated 2 times: [ Failed password for invalid user bob from 1.2.3.4 port 5 ssh2]",
            "error: maximum authentication attempts exceeded for invalid user bob from 1.2.3.4 port 5 ssh2 [preauth]",
            "Disconnecting invalid user bob 1.2.3.4 port 5: Too many authentication failures [preauth]",
            "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4",
            "PAM service(sshd) ignoring max retries; 3 > 3",
        ],
    );
    let failed = "auth.login_failed:bob";
    assert_eq!(actions(&events), [failed, failed, failed, "auth.rate_limited:bob"]);
    assert_eq!(detail(&events[3], "port"), 5);
}

#[test]
fn keyboard_interactive_is_counted_at_its_first_mention() {
    let events = messages(
        "sshd[7]",
        &[
            "error: PAM: Authentication failure for root from 1.2.3.4",
            "error: PAM: Authentication failure for root from 1.2.3.4",
            "Failed keyboard-interactive/pam for root from 1.2.3.4 port 5 ssh2",
            "Failed password for root from 1.2.3.4 port 5 ssh2",
            "error: PAM: User not known to the underlying authentication module for illegal user eve from 1.2.3.4",
        ],
    );
    assert_eq!(actions(&events), ["auth.login_failed:root"; 3]);
}

#[test]
fn a_login_given_up_before_any_attempt_is_told_once() {
    let end = "Connection closed by invalid user bob 1.2.3.4 port 5 [preauth]";
    let events = messages("sshd[7]", &["Invalid user bob from 1.2.3.4 port 5", end]);
    assert_eq!(actions(&events), ["auth.login_abandoned:bob"]);
    assert_eq!(detail(&events[0], "invalidUser"), true);
    let old = messages(
        "sshd[7]",
        &["Invalid user a b from 1.2.3.4", "Connection closed by 1.2.3.4 port 5 [preauth]"],
    );
    assert_eq!(actions(&old), ["auth.login_abandoned:a b"]);
    let named = "Connection reset by authenticating user root 1.2.3.4 port 5 [preauth]";
    assert_eq!(actions(&messages("sshd[7]", &[named])), ["auth.login_abandoned:root"]);
    let tried =
        messages("sshd[7]", &["Failed publickey for root from 1.2.3.4 port 5 ssh2: RSA SHA256:A", named]);
    assert_eq!(actions(&tried), ["auth.login_failed:root"]);
    assert!(messages("sshd[7]", &["Connection closed by 1.2.3.4 port 5 [preauth]"]).is_empty());
    // The process id comes again, and an older sshd names nobody when it cuts a connection off.
    let announced = "Invalid user bob from 1.2.3.4";
    let failed = "Failed none for invalid user bob from 1.2.3.4 port 5 ssh2";
    let cut_off = "Disconnecting: Too many authentication failures for bob [preauth]";
    let again = messages(
        "sshd[7]",
        &[announced, failed, cut_off, announced, cut_off, announced, failed, announced, end],
    );
    let expected = ["login_failed", "login_abandoned", "login_failed", "login_abandoned"];
    assert_eq!(actions(&again), expected.map(|action| format!("auth.{action}:bob")));
    let cut_off = "Disconnecting authenticating user root 1.2.3.4 port 5: Change of username or service not allowed: (root,ssh-connection) -> (x port 9,ssh-connection) [preauth]";
    let events = messages("sshd[7]", &[cut_off]);
    assert_eq!(actions(&events), ["auth.login_abandoned:root"]);
    assert_eq!(detail(&events[0], "address"), "1.2.3.4");
    let empty = messages("sshd[7]", &["Connection closed by invalid user  1.2.3.4 port 5 [preauth]"]);
    assert_eq!(actions(&empty), ["auth.login_abandoned:-"]);
}

#[test]
fn sessions_have_an_opener_where_there_is_one() {
    for (opened, who, by) in [
        ("session opened for user root by ubuntu(uid=0)", "root", Some("ubuntu")),
        ("session opened for user root(uid=0) by alice(uid=1000)", "root", Some("alice")),
        ("session opened for user alice by (uid=0)", "alice", None),
        ("session opened for user alice(uid=1000) by (uid=0)", "alice", None),
        ("session opened for user alice by LOGIN(uid=0)", "alice", None),
        ("session opened for user root by root(uid=0)", "root", None),
    ] {
        let events = messages("sudo", &[&format!("pam_unix(sudo:session): {opened}")]);
        assert_eq!(events[0].action().as_str(), "session.created");
        assert_eq!((user(&events[0]), actor(&events[0])), (Some(who), by), "{opened}");
    }
    let events = messages("sshd[7]", &["pam_unix(sshd:session): session closed for user alice"]);
    assert_eq!(actions(&events), ["session.logout:alice"]);
    assert!(
        messages("CRON[7]", &["pam_unix(cron:session): session opened for user root by (uid=0)"]).is_empty()
    );
    assert!(messages("su[7]", &["pam_systemd(su:session): Cannot create session"]).is_empty());
}

#[test]
fn sudo_commands_and_refusals() {
    let fields = "TTY=pts/0 ; PWD=/opt ; USER=root ; COMMAND=/bin/sh -c true ; x : y";
    let events = messages("sudo", &[&format!("  ubuntu : {fields}")]);
    assert_eq!(actions(&events), ["admin.sudo_command:ubuntu"]);
    assert_eq!(events[0].category(), Category::Admin);
    assert_eq!(detail(&events[0], "command"), "/bin/sh -c true ; x : y");
    assert_eq!(detail(&events[0], "runAs"), "root");
    assert_eq!(detail(&events[0], "directory"), "/opt");
    for reason in ["user NOT in sudoers", "command not allowed", "a password is required"] {
        let events = messages("sudo[9]", &[&format!("eve : {reason} ; {fields}")]);
        assert_eq!(actions(&events), ["admin.sudo_denied:eve"]);
        assert_eq!(detail(&events[0], "reason"), reason);
        assert_eq!(events[0].status(), Status::Failure);
    }
    let events = messages("sudo", &[&format!("eve : HOST=web ; {fields}")]);
    assert_eq!(actions(&events), ["admin.sudo_command:eve"]);
    assert!(messages("sudo", &["eve : (command continued) abc"]).is_empty());
}

#[test]
fn sudo_failures_are_counted_once_in_any_order() {
    let first = "pam_unix(sudo:auth): authentication failure; logname=eve uid=1000 euid=0 tty=/dev/pts/0 ruser=eve rhost=  user=eve";
    let more = "PAM 2 more authentication failures; logname=eve uid=1000 euid=0 tty=/dev/pts/0 ruser=eve rhost=  user=eve";
    let sum = "eve : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls";
    for order in [&[sum][..], &[first, sum], &[first, sum, more], &[first, more, sum], &[first, more]] {
        let events = messages("sudo", order);
        assert_eq!(actions(&events), ["auth.login_failed:eve"; 3], "{order:?}");
    }
    let twice = messages("sudo", &[first, sum, more, first, sum, more]);
    assert_eq!(twice.len(), 6);
    let one = messages(
        "sudo",
        &["eve : 1 incorrect password attempt ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls"],
    );
    assert_eq!(one.len(), 1);
    let then_right = "eve : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls";
    assert_eq!(messages("sudo", &[first, then_right, first, sum]).len(), 1 + 1 + 3);
}

#[test]
fn both_kinds_of_su() {
    let pam = "pam_unix(su:auth): authentication failure; logname=eve uid=1000 euid=0 tty=pts/0 ruser=eve rhost=  user=root";
    for failed in ["FAILED su for root by eve", "FAILED SU (to root) eve on pts/0"] {
        for order in [
            &[failed][..],
            &[pam, failed],
            &[pam, "pam_authenticate: Authentication failure", failed, "- /dev/pts/0 eve:root"],
        ] {
            let events = messages("su[7]", order);
            assert_eq!(actions(&events), ["auth.login_failed:root"], "{order:?}");
            assert_eq!(actor(&events[0]), Some("eve"));
        }
    }
    for success in ["Successful su for root by eve", "(to root) eve on pts/0"] {
        let events = messages("su[7]", &[success, "+ /dev/pts/0 eve:root"]);
        assert_eq!(actions(&events), ["admin.su:root"]);
        assert_eq!(actor(&events[0]), Some("eve"));
    }
}

#[test]
fn accounts() {
    let user = "new user: name=alice, UID=1001, GID=1002, home=/home/alice, shell=/bin/bash, from=/dev/pts/1";
    let events = messages("useradd[7]", &["new group: name=alice, GID=1002", user]);
    assert_eq!(actions(&events), ["group.created:-", "user.created:alice"]);
    assert_eq!(events[0].resource_id().unwrap().as_str(), "alice");
    assert_eq!(detail(&events[1], "uid"), 1001);
    assert_eq!(detail(&events[1], "home"), "/home/alice");
    let events = messages(
        "usermod[7]",
        &[
            "add 'alice' to group 'sudo'",
            "add 'alice' to shadow group 'sudo'",
            "delete 'alice' from group 'sudo'",
        ],
    );
    assert_eq!(actions(&events), ["user.role_changed:alice"; 2]);
    let events = messages("userdel[7]", &["delete user 'alice'", "removed group 'alice' owned by 'alice'"]);
    assert_eq!(actions(&events), ["user.deleted:alice"]);
    let events = messages("passwd[7]", &["pam_unix(passwd:chauthtok): password changed for alice"]);
    assert_eq!(actions(&events), ["auth.password_changed:alice"]);
    let events = messages("useradd[7]", &["failed adding user 'alice', data deleted"]);
    assert_eq!((events[0].action().as_str(), events[0].status()), ("user.create_failed", Status::Failure));
    assert!(messages("groupadd[7]", &["group added to /etc/group: name=x, GID=1"]).is_empty());
}

#[test]
fn every_frame_gives_the_same_event() {
    let body = "Failed password for root from 1.2.3.4 port 5 ssh2";
    for (line, at) in [
        ("Mar 27 13:06:56 web sshd[7]: ", "2024-03-27T13:06:56Z"),
        ("<86>Mar  7 03:06:56 web sshd[7]: ", "2024-03-07T03:06:56Z"),
        ("Mar 07 03:06:56 web sshd[7]: ", "2024-03-07T03:06:56Z"),
        ("Mar 27 13:06:56.250 web sshd-session[7]: ", "2024-03-27T13:06:56.25Z"),
        ("Mar 27 13:06:56 sshd[7]: ", "2024-03-27T13:06:56Z"),
        ("Mar 27 13:06:56 web /usr/sbin/sshd[7]: ", "2024-03-27T13:06:56Z"),
        ("Mar 27 13:06:56 web sshd: ", "2024-03-27T13:06:56Z"),
        ("2023-03-27T13:06:56.123456+01:00 web sshd[7]: ", "2023-03-27T12:06:56.123456Z"),
        ("<38>2023-03-27T13:06:56Z web sshd[7]: ", "2023-03-27T13:06:56Z"),
        ("2023-03-27T13:06:56 web sshd[7]: ", "2023-03-27T13:06:56Z"),
        ("2023-03-27 13:06:56 web sshd[7]: ", "2023-03-27T13:06:56Z"),
        ("2023-03-27T13:06:56-0130 web sshd[7]: ", "2023-03-27T14:36:56Z"),
        ("<38>1 2023-03-27T13:06:56.123Z web sshd 7 - - ", "2023-03-27T13:06:56.123Z"),
        ("1 2023-03-27T13:06:56Z web sshd 7 ID47 - ", "2023-03-27T13:06:56Z"),
        (
            "<38>1 2023-03-27T13:06:56Z - sshd - - [a@1 x=\"] \\\" [\" y=\"\"][b] \u{feff}",
            "2023-03-27T13:06:56Z",
        ),
    ] {
        let events = parse_with(&mut parser(), &format!("{line}{body}"));
        assert_eq!(actions(&events), ["auth.login_failed:root"], "{line}");
        assert_eq!(events[0].occurred_at(), Some(time(at)), "{line}");
    }
}

#[test]
fn bad_lines_name_what_is_wrong() {
    for (line, field) in [
        ("no stamp at all", "timestamp"),
        ("Mar 27", "timestamp"),
        ("Mar 27 25:00:00 web sshd[7]: x", "timestamp"),
        ("Apr 31 10:00:00 web sshd[7]: x", "timestamp"),
        ("Foo 1 10:00:00 web sshd[7]: x", "timestamp"),
        ("2024-13-01T00:00:00Z web sshd[7]: x", "timestamp"),
        ("2024-03-01T00:00:00+1 web sshd[7]: x", "timestamp"),
        ("Mar 27 13:06:56", "host"),
        ("<999>Mar 27 13:06:56 web sshd[7]: x", "priority"),
        ("<38Mar 27 13:06:56 web sshd[7]: x", "priority"),
        ("<38>1 2024-03-27T13:06:56Z web sshd 7 -", "messageId"),
        ("<38>1 2024-03-27T13:06:56Z web sshd 7 - [a x=\"1\" x", "structuredData"),
        ("<38>1 - web sshd 7 - - Failed password for root from 1.2.3.4 port 5 ssh2", "timestamp"),
        ("Mar 27 13:06:56 web sshd[7]: Failed password for root from 1.2.3", "message"),
        ("Mar 27 13:06:56 web sshd[7]: Failed password for root from 1.2.3.4 port 70000 ssh2", "message"),
        ("Mar 27 13:06:56 web sshd[7]: Accepted password for root", "message"),
        ("Mar 27 13:06:56 web sshd[7]: message repeated 0 times: [ x]", "message"),
        ("Mar 27 13:06:56 web sshd[7]: message repeated 4000000000 times: [ x]", "message"),
    ] {
        let (at, reason) = fault(line);
        assert_eq!(at, field, "{line}: {reason}");
    }
    let long =
        format!("Mar 27 13:06:56 web sshd[7]: Failed none for {} from 1.2.3.4 port 5 ssh2", "x".repeat(257));
    assert_eq!(fault(&long).0, "userId");
    assert_eq!(
        parser().parse(b"Mar 27 13:06:56 web \xff").unwrap_err().to_string(),
        "line: not UTF-8 from byte 20 on"
    );
}

#[test]
fn other_lines_are_ignored() {
    for line in [
        "Mar 27 13:06:56 web -- MARK --",
        "Mar 27 13:06:56 web systemd-logind[1]: New session 1 of user root.",
        "Mar 27 13:06:56 web sshd[7]: Failed to release session: Interrupted",
        "Mar 27 13:06:56 web sshd[7]:",
        "Mar 27 13:06:56 web",
        "<38>1 - web cron 7 - -",
    ] {
        assert!(parse_with(&mut parser(), line).is_empty(), "{line}");
    }
}

#[test]
fn the_last_message_is_repeated() {
    let mut parser = parser();
    let line = |message: &str| format!("Mar 27 13:06:56 {message}");
    let failed = line("web sshd[7]: Failed password for root from 1.2.3.4 port 5 ssh2");
    assert_eq!(parse_with(&mut parser, &failed).len(), 1);
    let again = parse_with(&mut parser, "Mar 27 13:07:10 web last message repeated 3 times");
    assert_eq!(actions(&again), ["auth.login_failed:root"; 3]);
    assert_eq!(again[0].occurred_at(), Some(time("2024-03-27T13:07:10Z")));
    assert!(parse_with(&mut parser, &line("other last message repeated 3 times")).is_empty());
    assert!(parse_with(&mut parser, &line("web cron[1]: x")).is_empty());
    assert!(parse_with(&mut parser, &line("web last message repeated 3 times")).is_empty());
}

/// The years that the stamps of a log get.
fn years(year: Option<u16>, now: &str, stamps: &[&str]) -> Vec<String> {
    let mut parser = Parser::new(year, time(now));
    stamps
        .iter()
        .map(|stamp| match parser.parse(format!("{stamp} web su[1]: Successful su for a by b").as_bytes()) {
            Ok(Parsed::Event { event, .. }) => event.occurred_at().unwrap().to_string()[..4].to_owned(),
            Ok(Parsed::Ignored) => panic!("{stamp}"),
            Err(error) => error.to_string(),
        })
        .collect()
}

#[test]
fn the_first_year_is_the_latest_not_in_the_future() {
    let now = "2026-11-20T10:00:00Z";
    assert_eq!(years(None, now, &["Nov 20 10:00:00"]), ["2026"]);
    assert_eq!(years(None, now, &["Nov 20 10:00:01"]), ["2025"]);
    assert_eq!(years(None, now, &["Feb 29 10:00:00"]), ["2024"]);
    assert_eq!(years(None, "2024-02-29T09:00:00Z", &["Feb 29 10:00:00"]), ["2020"]);
    assert_eq!(years(None, "2104-01-01T00:00:00Z", &["Feb 29 10:00:00"]), ["2096"]);
    assert_eq!(years(Some(2030), now, &["Nov 20 10:00:00"]), ["2030"]);
}

#[test]
fn the_year_goes_on_over_new_year_and_only_there() {
    let now = "2026-11-20T10:00:00Z";
    let over =
        ["Dec 30 10:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01"];
    assert_eq!(years(None, now, &over), ["2025", "2025", "2026", "2025", "2026"]);
    assert_eq!(years(Some(2019), now, &over), ["2019", "2019", "2020", "2019", "2020"]);
    let steps =
        ["Mar 27 10:00:00", "Mar 27 09:58:00", "Mar 20 10:00:00", "Jan 02 10:00:00", "Sep 10 10:00:00"];
    assert_eq!(years(Some(2019), now, &steps), ["2019"; 5]);
    let sparse =
        ["Jan 10 10:00:00", "Oct  1 10:00:00", "Feb  1 10:00:00", "Nov  1 10:00:00", "Jan 31 10:00:00"];
    assert_eq!(years(Some(2019), now, &sparse), ["2019", "2019", "2020", "2020", "2021"]);
    // A full stamp sets the year for those without.
    let mixed = ["2017-12-31T23:00:00Z", "Jan  1 00:00:00"];
    assert_eq!(years(Some(2019), now, &mixed), ["2017", "2018"]);
}

#[test]
fn leap_days() {
    let stamps = ["Feb 28 10:00:00", "Feb 29 10:00:00", "Mar  1 10:00:00"];
    let found = years(Some(2023), "2026-11-20T10:00:00Z", &stamps);
    assert_eq!(found, ["2023", "timestamp: 2023 has no 29 February", "2023"]);
    assert_eq!(years(Some(2024), "2026-11-20T10:00:00Z", &stamps), ["2024"; 3]);
}
