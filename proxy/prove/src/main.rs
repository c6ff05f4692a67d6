//! `drape-prove`: what `drape prove` runs. A program of its own, so that the proxy carries no symbolic compiler.

use std::process::ExitCode;

fn main() -> ExitCode {
    drape_prove::run()
}
