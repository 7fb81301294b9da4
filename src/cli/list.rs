//! `usertrail list`: a page of a user's log, as a table or as JSON. Must not know how it is found.

use super::args::ListArgs;
use super::failure::{Exit, Failure, complain};
use super::output::{Output, Screen};
use super::reading;
use super::table::Table;
use super::text::printable;
use crate::{Page, Store, UserId};

/// The second half of the JSON.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    has_more: bool,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let store = reading::open(&args.data)?;
    let page = page(&store, args)?;
    let mut output = Output::new();
    if args.json {
        let text = json(&page)?;
        output.write(&text)?;
        output.finish()?;
        return Ok(Exit::Fine);
    }
    let screen = Screen::detect();
    if page.is_empty() {
        complain("no events");
    } else {
        Table::of(&page)?.write(&mut output, screen)?;
    }
    if let Some(cursor) = page.next_cursor() {
        output.line(&format!("\nthere is more: --cursor {cursor}"))?;
    }
    output.finish()?;
    Ok(Exit::Fine)
}

fn page(store: &Store, args: &ListArgs) -> Result<Page, Failure> {
    let user = args.user.as_deref().or(args.user_json.as_deref()).unwrap_or_default();
    let user = UserId::new(user).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut query = store.user_log(&user).limit(usize::from(args.limit)).order(args.order.into());
    if let Some(cursor) = &args.cursor {
        query = query.cursor(cursor.as_str());
    }
    for level in args.level.iter().flat_map(|several| &several.0) {
        query = query.level(*level);
    }
    for category in args.category.iter().flat_map(|several| &several.0) {
        query = query.category(*category);
    }
    for status in args.status.iter().flat_map(|several| &several.0) {
        query = query.status(*status);
    }
    for action in args.action.iter().flat_map(|several| &several.0) {
        query = query.action(action);
    }
    for service in args.service.iter().flat_map(|several| &several.0) {
        query = query.service(service);
    }
    if let Some(since) = args.since {
        query = query.since(since);
    }
    if let Some(until) = args.until {
        query = query.until(until);
    }
    Ok(query.page()?)
}

/// The whole page, made before any of it is printed: half a page would be no JSON.
fn json(page: &Page) -> Result<Vec<u8>, Failure> {
    let unfit = |error: serde_json::Error| Failure::Damaged(format!("an event can't be shown: {error}"));
    let mut text = b"{\"data\":[".to_vec();
    for (place, event) in page.iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &event?).map_err(unfit)?;
    }
    let pagination =
        Pagination { limit: page.limit(), next_cursor: page.next_cursor(), has_more: page.has_more() };
    text.extend_from_slice(b"],\"pagination\":");
    serde_json::to_writer(&mut text, &pagination).map_err(unfit)?;
    text.extend_from_slice(b"}\n");
    Ok(text)
}

/// A user's id as a heading may show it.
pub(super) fn shown(user: &UserId<'_>) -> String {
    printable(user.as_str()).into_owned()
}
