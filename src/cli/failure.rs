//! What a command ends with: exit codes, and the one line on standard error. Must not know any command.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use super::text::printable;
use crate::{Error, ErrorKind};

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    Fine,
    /// Some of the input was rejected; each line was named already.
    Rejected,
    /// The store is damaged; what was found is told already.
    Damaged,
    /// A figure misses its bound; the table says which.
    Missed,
}

/// Why a command could not go on.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line is wrong in a way that only the command itself can see.
    Usage(String),
    Store(Error),
    /// A stored event that can't be shown.
    Damaged(String),
    Other(String),
    /// Nobody reads the output any more, which is no error.
    ClosedPipe,
}

impl Failure {
    /// A failed operation on a file of the person's own.
    pub(super) fn file(operation: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::Other(format!("cannot {operation} {}: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Other(message) | Self::Damaged(message) => f.write_str(message),
            Self::Store(error) => error.fmt(f),
            Self::ClosedPipe => f.write_str("the output was closed"),
        }
    }
}

const ERROR: u8 = 1;
const USAGE: u8 = 2;
const REJECTED: u8 = 3;
const DAMAGED: u8 = 4;

/// Tells on standard error why a command failed, and gives the exit code.
pub(super) fn report(outcome: Result<Exit, Failure>) -> ExitCode {
    let failure = match outcome {
        Ok(Exit::Fine) | Err(Failure::ClosedPipe) => return ExitCode::SUCCESS,
        Ok(Exit::Missed) => return ERROR.into(),
        Ok(Exit::Rejected) => return REJECTED.into(),
        Ok(Exit::Damaged) => return DAMAGED.into(),
        Err(failure) => failure,
    };
    complain(&failure.to_string());
    let code = match &failure {
        Failure::Usage(_) => USAGE,
        Failure::Damaged(_) => DAMAGED,
        Failure::Store(error) => match error.kind() {
            ErrorKind::Corruption => DAMAGED,
            ErrorKind::InvalidOption => USAGE,
            _ => ERROR,
        },
        Failure::Other(_) | Failure::ClosedPipe => ERROR,
    };
    code.into()
}

/// One line on standard error, whatever the message holds.
pub(super) fn complain(message: &str) {
    // If standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "usertrail: {}", printable(message));
}

/// Help and version as they are, errors of the command line in one line.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    if matches!(
        error.kind(),
        Kind::DisplayHelp | Kind::DisplayVersion | Kind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A closed pipe is no error here either.
        let _ = error.print();
        return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
    }
    let text = error.to_string();
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" ")
    });
    let told: Vec<String> =
        paragraphs.filter(|text| !text.is_empty() && !text.starts_with("For more information")).collect();
    let told = told.join("; ");
    complain(told.strip_prefix("error: ").unwrap_or(&told));
    USAGE.into()
}
