//! The binary: hands its arguments to the command line's entry. Knows nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    usertrail::cli::run(std::env::args_os())
}
