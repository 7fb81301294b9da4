//! Embedding a store: open, append, read. Run with `cargo run --example embed`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use usertrail::{Level, Message, NewEvent, Options, SessionId, UserId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("usertrail-embed-{}", std::process::id()));
    let store = Options::new().create_if_missing(true).open(&dir)?;

    let alice = UserId::new("alice")?;
    let login = NewEvent::login(alice.clone(), SessionId::new("s-1")?).ip("203.0.113.7".parse()?);
    let receipt = store.append(&login.build()?)?;
    println!("stored {} as number {:?} of alice's trail", receipt.id, receipt.user_sequence);

    let failed = NewEvent::login_failed(Some(alice.clone()), Message::new("wrong password")?);
    store.append(&failed.build()?)?;

    let page = store.user_log(&alice).level(Level::Warning).limit(50).page()?;
    for event in page.iter() {
        let event = event?;
        println!("{} {} {}", event.occurred_at(), event.action()?, event.message()?.unwrap_or_default());
    }

    store.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
