//! Going through a user's log page by page, with filters. Run with `cargo run --example page_through`.
//!
//! The cursor is text for URLs. It never expires, and neither repeats nor skips an event, whatever is appended meanwhile.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use usertrail::{
    Action, Category, Level, Message, NewEvent, Order, SessionId, Status, Store, Timestamp, UserId,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    let alice = UserId::new("alice")?;
    for n in 0..25_i64 {
        let at = Timestamp::from_micros((1_767_225_600 + n * 3_600) * 1_000_000);
        let event = match n % 5 {
            0 => NewEvent::login_failed(Some(alice.clone()), Message::new(format!("attempt {n}"))?),
            _ => NewEvent::session_extended(alice.clone(), SessionId::new(format!("s-{n}"))?),
        };
        store.append(&event.occurred_at(at).build()?)?;
    }

    let mut cursor = None;
    for number in 1.. {
        let mut query = store.user_log(&alice).category(Category::Session).limit(8).order(Order::Newest);
        if let Some(cursor) = cursor {
            query = query.cursor(cursor);
        }
        let page = query.page()?;
        println!("page {number}: {} events, {} records read", page.len(), page.records_read());
        for event in page.iter() {
            let event = event?;
            println!("  {} {}", event.occurred_at(), event.session_id()?.unwrap_or_default());
        }
        // Between two pages the world goes on; the next page goes on where this one ended.
        store.append(&NewEvent::session_extended(alice.clone(), SessionId::new("s-new")?).build()?)?;
        cursor = page.next_cursor();
        if cursor.is_none() {
            break;
        }
    }

    let failures = store
        .user_log(&alice)
        .action(&Action::AUTH_LOGIN_FAILED)
        .level(Level::Warning)
        .status(Status::Failure)
        .since(Timestamp::parse_rfc3339("2026-01-01T05:00:00Z")?)
        .until(Timestamp::parse_rfc3339("2026-01-01T20:00:00Z")?)
        .page()?;
    println!("{} failed logins between five and twenty hundred", failures.len());
    println!("alice has {} events", store.user_count(&alice)?);
    Ok(())
}
