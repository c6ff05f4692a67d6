//! The command line: one verb a file, messages to people on standard error, results on standard output.

mod approve;
mod audit;
mod capture;
mod catalogue;
mod check;
mod diff;
mod explain;
mod import;
mod init;
mod keys;
mod prove;
mod replay;
mod report;
mod schema;
mod sheet;
mod source;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use audit::line as entry_line;
use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::config::Config;
use crate::workbench::examine::Severity;
use crate::{demo, serve};

/// A FHIR privacy proxy: shows each caller only what policy permits, and writes down who saw what.
#[derive(Debug, Parser)]
#[command(name = "drape", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a configuration and its policies, or a set alone, without starting anything.
    Check(check::Arguments),
    /// Write a commented starting point, or make what must exist before the first start: root key, log key, signing key,
    /// log. What exists is left alone.
    Init(init::Arguments),
    /// Stand in front of the configured FHIR servers.
    Serve {
        /// The configuration.
        #[arg(short, long, default_value = "drape.yaml")]
        config: PathBuf,
    },
    /// Verify and search the audit log.
    Audit {
        #[command(subcommand)]
        verb: audit::Verb,
    },
    /// Print the public halves of keys that others must know.
    Keys {
        #[command(subcommand)]
        verb: keys::Verb,
    },
    /// Show the way of one request through every stage: who, what was asked, what each policy did.
    Explain(explain::Arguments),
    /// Run the policy tests of a set, with coverage.
    Test(test::Arguments),
    /// What a change of policies changes, for each persona, type and category.
    Diff(diff::Arguments),
    /// Record what was asked and decided, so that it can be asked of other policies.
    Capture(capture::Arguments),
    /// Ask a recording of other policies.
    Replay(replay::Arguments),
    /// Prove the guarantees of a set, or show what breaks them.
    Prove(prove::Arguments),
    /// List the elements of a type, each with its category and why.
    Catalogue(catalogue::Arguments),
    /// Print the JSON Schema of a YAML file, for editors.
    Schema(schema::Arguments),
    /// Turn anonymisation rules of others into a policy set.
    Import(import::Arguments),
    /// A plain sheet of who is shown what, to be read and signed.
    Sheet(sheet::Arguments),
    /// Record that somebody approves of a policy digest.
    Approve(approve::Arguments),
    /// Try Drape on a made-up hospital: no configuration, no network.
    Demo(demo::Arguments),
}

/// What went wrong, and the exit status that says so.
pub(crate) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// 1: what was given cannot be used.
    pub(crate) fn new(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// All of them, each with its help line.
    pub(crate) fn faults(faults: &[drape_view::fault::Fault]) -> Self {
        let list: Vec<String> = faults.iter().map(|f| report::told(Severity::Fault, f)).collect();
        Self::new(format!("{} fault(s):\n\n{}", list.len(), list.join("\n\n")))
    }

    /// With another exit status.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Check(arguments) => return check::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Init(arguments) => init::run(&arguments),
        Verb::Serve { config } => serve_until_stopped(&config),
        Verb::Keys { verb } => keys::run(verb),
        Verb::Audit { verb } => return audit::run(verb).unwrap_or_else(|failure| fail(&failure)),
        Verb::Explain(arguments) => return explain::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Test(arguments) => return test::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Diff(arguments) => return diff::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Capture(arguments) => return capture::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Replay(arguments) => return replay::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Prove(arguments) => return prove::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Catalogue(arguments) => {
            return catalogue::run(&arguments).unwrap_or_else(|failure| fail(&failure));
        }
        Verb::Schema(arguments) => return schema::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Import(arguments) => return import::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Sheet(arguments) => return sheet::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Approve(arguments) => return approve::run(&arguments).unwrap_or_else(|failure| fail(&failure)),
        Verb::Demo(arguments) => demo::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    tell(format!("drape: {}", failure.text));
    ExitCode::from(failure.code)
}

/// Tells people something, on standard error.
pub(crate) fn tell(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says something to standard output. A reader that went away (`| head`) is no fault.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A runtime for the proxy.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::new)
}

/// One provider for everything; rustls wants to be told.
pub(crate) fn prepare() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn serve_until_stopped(path: &std::path::Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("DRAPE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    prepare();
    runtime()?.block_on(async {
        let running = serve::start(config, Clock::system()).await?;
        tracing::info!(address = %running.address, admin = %running.admin_address, "listening");
        serve::asked_to_stop().await;
        tracing::info!("stopping: open requests may finish");
        running.stop().await;
        tracing::info!("stopped");
        Ok(())
    })
}
