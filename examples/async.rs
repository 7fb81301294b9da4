//! The store in async code: nothing blocks the runtime. Run with `cargo run --example async --features async`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use usertrail::{AsyncStore, Durability, NewEvent, Order, SessionId, Store, UserId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = AsyncStore::new(Store::in_memory()?);

    // Sixteen callers wait for stable storage and share the syncs.
    let mut callers = Vec::new();
    for n in 0..16 {
        let store = store.clone();
        callers.push(tokio::spawn(async move {
            let login = NewEvent::login(UserId::new("alice")?, SessionId::new(format!("s-{n}"))?).build()?;
            store.append_with(login, Durability::Durable).await
        }));
    }
    for caller in callers {
        let receipt = caller.await??;
        println!("{} is on stable storage, number {:?}", receipt.id, receipt.user_sequence);
    }

    let page = store.user_log(UserId::new("alice")?, 10, Order::Newest, None).await?;
    println!("the newest {} of more: {}", page.events.len(), page.has_more);
    store.close().await?;
    Ok(())
}
