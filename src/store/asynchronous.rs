//! The store for async code: nothing here blocks the runtime.

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, NewEvent, UserId};
use crate::{BatchError, Durability, Order, Receipt, Store};

/// A [`Store`] whose calls can be awaited in a tokio runtime.
///
/// An append at `Buffered` or `Interval` durability is a copy into memory and runs in place; where it would have to wait
/// (back-pressure, rollover on a full disk), and for everything that reads, a blocking thread of the runtime does the work.
/// Waiting for stable storage holds no thread.
///
/// ```
/// use usertrail::{AsyncStore, NewEvent, SessionId, Store, UserId};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let store = AsyncStore::new(Store::in_memory()?);
/// let login = NewEvent::login(UserId::new("alice")?, SessionId::new("s-1")?).build()?;
/// let receipt = store.append(login).await?;
/// assert_eq!(receipt.user_sequence.unwrap().get(), 0);
/// # Ok::<(), usertrail::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct AsyncStore {
    store: Store,
}

/// A page of owned events, for async code.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnedPage {
    /// The events, in the order that was asked for.
    pub events: Vec<Event>,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
    /// Whether more events pass the filter.
    pub has_more: bool,
}

impl AsyncStore {
    /// The async side of a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store itself, for what has no async form.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Appends an event and waits as the store's [`Durability`] says.
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    pub async fn append(&self, event: NewEvent<'static>) -> Result<Receipt> {
        self.append_with(event, self.store.durability()).await
    }

    /// Appends an event, waiting for stable storage if this durability or the store's asks for it.
    ///
    /// # Errors
    ///
    /// As [`Store::append_with`].
    pub async fn append_with(&self, event: NewEvent<'static>, durability: Durability) -> Result<Receipt> {
        let waits = durability.waits() || self.store.durability().waits();
        let pending = if self.store.may_block(&event) {
            let store = self.store.clone();
            blocking(move || store.append_nowait(&event)).await??
        } else {
            self.store.append_nowait(&event)?
        };
        if waits { pending.await } else { Ok(pending.receipt()) }
    }

    /// Appends many events, each for itself.
    ///
    /// # Errors
    ///
    /// As [`Store::append_batch`].
    pub async fn append_batch(&self, events: Vec<NewEvent<'static>>) -> Result<Vec<Receipt>, BatchError> {
        let store = self.store.clone();
        let total = events.len();
        let appended = blocking(move || store.append_batch(&events)).await;
        appended.unwrap_or_else(|error| Err(BatchError { receipts: vec![None; total], error }))
    }

    /// Appends events of one user so that a crash keeps all of them or none.
    ///
    /// # Errors
    ///
    /// As [`Store::append_atomic`].
    pub async fn append_atomic(&self, events: Vec<NewEvent<'static>>) -> Result<Vec<Receipt>> {
        let store = self.store.clone();
        blocking(move || store.append_atomic(&events)).await?
    }

    /// A page of a user's log, as owned events.
    ///
    /// # Errors
    ///
    /// As [`UserLogQuery::page`](crate::UserLogQuery::page).
    pub async fn user_log(
        &self,
        user: UserId<'static>,
        limit: usize,
        order: Order,
        cursor: Option<String>,
    ) -> Result<OwnedPage> {
        let store = self.store.clone();
        blocking(move || {
            let mut query = store.user_log(&user).limit(limit).order(order);
            if let Some(cursor) = cursor {
                query = query.cursor(cursor);
            }
            let page = query.page()?;
            Ok(OwnedPage {
                events: page.to_events()?,
                next_cursor: page.next_cursor(),
                has_more: page.has_more(),
            })
        })
        .await?
    }

    /// Runs a closure on the store in a blocking thread of the runtime: for filtered queries and all else.
    ///
    /// # Errors
    ///
    /// Those of the closure.
    pub async fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        blocking(move || action(&store)).await?
    }

    /// Waits until everything that was appended before is on stable storage.
    ///
    /// # Errors
    ///
    /// As [`Store::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.run(Store::flush).await
    }

    /// Closes the store.
    ///
    /// # Errors
    ///
    /// As [`Store::close`].
    pub async fn close(&self) -> Result<()> {
        self.run(Store::close).await
    }
}

async fn blocking<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let finished = tokio::task::spawn_blocking(action).await;
    finished.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::new(ErrorKind::Closed, "the runtime was shut down before the store could act"),
    })
}
