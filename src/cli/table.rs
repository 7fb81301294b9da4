//! A page as a table for people. Must not know where the page comes from.

use super::failure::Failure;
use super::output::{Output, Screen};
use super::text::{columns, cut, printable};
use crate::{EventView, Level, Page, Status};

const HEADINGS: [&str; COLUMNS] = ["", "TIME", "LEVEL", "ACTION", "STATUS", "ADDRESS", "SERVICE", "MESSAGE"];
const COLUMNS: usize = 8;
/// The most that a column but the last takes of a terminal.
const COLUMN_MAX: usize = 40;
const GAP: &str = "  ";
/// What the last column gets of a terminal at least, if it needs it.
const MESSAGE_MIN: usize = 30;
/// What a narrow terminal goes without, in this order: service, level (marks and colours tell it too), address, status.
const GIVEN_UP: [usize; 4] = [6, 2, 5, 4];

/// A row: what it shows, and what colours it.
struct Row {
    cells: [String; COLUMNS],
    level: Level,
    failed: bool,
}

/// The events of a page, fit for a terminal.
pub(super) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn of(page: &Page) -> Result<Self, Failure> {
        let rows = page.iter().map(|event| row(&event?)).collect::<Result<_, Failure>>()?;
        Ok(Self { rows })
    }

    pub(super) fn write(&self, output: &mut Output, screen: Screen) -> Result<(), Failure> {
        let headings = HEADINGS.map(str::to_owned);
        let widths = self.widths(&headings, screen);
        let dim = if screen.colour { "\u{1b}[2m" } else { "" };
        output.line(&line(&headings, &widths, screen, dim))?;
        for row in &self.rows {
            output.line(&line(&row.cells, &widths, screen, row.colour(screen)))?;
        }
        Ok(())
    }

    /// How wide each column is; 0 where it is left out.
    fn widths(&self, headings: &[String; COLUMNS], screen: Screen) -> [usize; COLUMNS] {
        let mut widths = headings.each_ref().map(|heading| columns(heading));
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(columns(cell).min(COLUMN_MAX));
            }
        }
        // A column that no event of the page has is left out.
        for (place, width) in widths.iter_mut().enumerate() {
            if self.rows.iter().all(|row| row.cells[place].is_empty()) {
                *width = 0;
            }
        }
        if let Some(total) = screen.columns {
            for place in GIVEN_UP {
                let (message, others) = widths.split_last().map_or((0, 0), |(message, others)| {
                    let shown = others.iter().filter(|width| **width > 0);
                    (*message, shown.map(|width| width + GAP.len()).sum())
                });
                if others + message.min(MESSAGE_MIN) > total {
                    widths[place] = 0;
                }
            }
        }
        widths
    }
}

impl Row {
    fn colour(&self, screen: Screen) -> &'static str {
        if !screen.colour {
            return "";
        }
        match self.level {
            Level::Suspicious => "\u{1b}[1;31m",
            Level::Error => "\u{1b}[31m",
            Level::Warning => "\u{1b}[33m",
            Level::Info if self.failed => "\u{1b}[33m",
            Level::Info => "",
        }
    }
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], screen: Screen, colour: &str) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate().filter(|(_, (_, width))| **width > 0) {
        if used > 0 {
            text.push_str(GAP);
            used += GAP.len();
        }
        let last = place == COLUMNS - 1;
        let shown = match screen.columns {
            None => cell.as_str().into(),
            Some(total) if last => cut(cell, total.saturating_sub(used)),
            Some(total) => cut(cell, (*width).min(total.saturating_sub(used))),
        };
        text.push_str(&shown);
        let taken = columns(&shown);
        used += taken;
        if !last {
            let missing = width.saturating_sub(taken);
            text.extend(std::iter::repeat_n(' ', missing));
            used += missing;
        }
    }
    // The gaps alone may be over the edge of a very narrow terminal.
    let text = match screen.columns {
        None => text,
        Some(total) => cut(text.trim_end(), total).into_owned(),
    };
    let text = text.trim_end();
    if colour.is_empty() { text.to_owned() } else { format!("{colour}{text}\u{1b}[0m") }
}

fn row(event: &EventView<'_>) -> Result<Row, Failure> {
    let mark = match event.level() {
        Level::Suspicious => "!!",
        Level::Error => "!",
        Level::Warning | Level::Info => "",
    };
    let damaged = |error: crate::event::LeafError| {
        Failure::Damaged(format!("event {} can't be shown: {error}", event.id()))
    };
    let address = event.ip_address().map_err(damaged)?.map(|address| address.to_string()).unwrap_or_default();
    let service = event.service().map_err(damaged)?.unwrap_or_default();
    let cells = [
        mark.to_owned(),
        event.occurred_at().to_string(),
        event.level().to_string(),
        printable(event.action().map_err(damaged)?).into_owned(),
        event.status().to_string(),
        address,
        printable(service).into_owned(),
        printable(&summary(event).map_err(damaged)?).into_owned(),
    ];
    Ok(Row { cells, level: event.level(), failed: event.status() != Status::Success })
}

/// The event's message, or what else it says.
fn summary(event: &EventView<'_>) -> Result<String, crate::event::LeafError> {
    if let Some(message) = event.message()?.filter(|message| !message.is_empty()) {
        return Ok(message.to_owned());
    }
    let resource = match (event.resource()?, event.resource_id()?) {
        (Some(resource), Some(id)) => Some(format!("{resource} {id}")),
        (resource, id) => resource.or(id).map(str::to_owned),
    };
    let actor = event.actor_id()?.map(|actor| format!("by {actor}"));
    let session = event.session_id()?.map(|session| format!("session {session}"));
    let details = event.details()?.map(str::to_owned);
    let parts: Vec<String> = [resource, actor, session, details].into_iter().flatten().collect();
    Ok(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(message: &str) -> Table {
        let cells = ["!!", "2026-01-29T11:52:07.142Z", "suspicious", "session.hijack_suspected", "failure"];
        let cells = cells.into_iter().chain(["198.51.100.78", "gateway", message]).map(str::to_owned);
        let cells: Vec<String> = cells.collect();
        Table { rows: vec![Row { cells: cells.try_into().unwrap(), level: Level::Suspicious, failed: true }] }
    }

    fn shown(table: &Table, columns: Option<usize>) -> String {
        let screen = Screen { columns, colour: false };
        let widths = table.widths(&HEADINGS.map(str::to_owned), screen);
        line(&table.rows[0].cells, &widths, screen, "")
    }

    #[test]
    fn a_narrow_terminal_keeps_what_matters_and_is_never_overrun() {
        let message = "The session moved to the other side of the world within an hour, 日本語";
        let table = table(message);
        let all = shown(&table, None);
        assert!(all.ends_with(message) && all.contains("gateway"), "{all}");
        assert_eq!(shown(&table, Some(400)), all);
        for total in 20..250 {
            let text = shown(&table, Some(total));
            assert!(columns(&text) <= total, "{total}: {text}");
            assert!(total < 100 || text.contains("The session moved to"), "{total}: {text}");
            assert!(text.starts_with("!!  2026-01-29T11"), "{text}");
        }
        let narrow = shown(&table, Some(100));
        assert!(narrow.contains("failure") && !narrow.contains("gateway"), "{narrow}");
    }

    #[test]
    fn colours_end_where_the_line_does() {
        let table = table("x");
        let screen = Screen { columns: Some(120), colour: true };
        let widths = table.widths(&HEADINGS.map(str::to_owned), screen);
        let text = line(&table.rows[0].cells, &widths, screen, table.rows[0].colour(screen));
        assert!(text.starts_with("\u{1b}[1;31m") && text.ends_with("\u{1b}[0m"), "{text:?}");
        assert_eq!(table.rows[0].colour(Screen { colour: false, ..screen }), "");
    }
}
