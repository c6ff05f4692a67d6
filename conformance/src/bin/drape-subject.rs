//! The program under test, built beside the tests: the same one line as `drape` itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    drape_server::cli::run()
}
