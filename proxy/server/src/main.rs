//! The program `drape`: everything lies in the library, so that tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    drape_server::cli::run()
}
