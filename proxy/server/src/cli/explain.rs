//! `drape explain`: show the way of one request through every stage: who, what was asked, what each policy did.

mod entry;
mod given;
mod told;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::source::{Source, Sourced};
use super::{Failure, prepare, runtime, say};
use crate::clock::Clock;
use crate::workbench::walk::{Bench, Circumstances};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 explained, whether the request is allowed or refused; 1 it cannot be explained; 2 \
    usage.\n\nExamples:\n  drape explain \"GET /Observation?patient=p1\" --as nurse --policies hospital\n  drape explain \
    \"GET /Patient/p1\" --claims claims.json --records ward.json --config drape.yaml\n  drape explain --entry \
    5f3a09c1-0000002a --config drape.yaml"
)]
pub(super) struct Arguments {
    /// The request: a method and what follows the base URL, as in "GET /Observation?patient=p1". Without a method it
    /// is a GET.
    #[arg(required_unless_present = "entry")]
    request: Option<String>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    who: Who,
    /// Records that the FHIR server holds: resources, Bundles or NDJSON. Without any, the examples of the set.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "entry")]
    records: Vec<PathBuf>,
    /// When it is asked, as in 2026-11-25T10:00:00Z; now, where nothing is said.
    #[arg(long, value_name = "TIME", conflicts_with = "entry")]
    at: Option<String>,
    /// The address that it comes from.
    #[arg(long, value_name = "IP", conflicts_with = "entry")]
    network: Option<IpAddr>,
    /// As if emergency access had been declared and accepted.
    #[arg(long, conflicts_with = "entry")]
    break_glass: bool,
    /// The request's body.
    #[arg(long, value_name = "FILE", conflicts_with = "entry")]
    body: Option<PathBuf>,
    /// A header of the request, as in "If-Match: W/\"1\"".
    #[arg(long, value_name = "NAME: VALUE", conflicts_with = "entry")]
    header: Vec<String>,
    /// Show values: the answer as it would leave, ages, patients.
    #[arg(long)]
    reveal: bool,
    /// How it is told.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Who asks, or which request of the past is meant.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A persona of the set.
    #[arg(long = "as", value_name = "PERSONA")]
    persona: Option<String>,
    /// A file with the claims of a token, JSON or YAML.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// A file with a token. Its signature is not verified: whoever could ask for a token can write one.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The id of a request that was answered or refused, as its OperationOutcome and its log entry name it: what the log
    /// holds of the decision is told.
    #[arg(long, value_name = "ID", conflicts_with = "policies")]
    entry: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A story.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(id) = &arguments.who.entry {
        let text = entry::explain(&arguments.source, id, arguments.reveal, arguments.format)?;
        say(text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let (method, target) = given::request(arguments.request.as_deref().unwrap_or_default())?;
    let sourced = arguments.source.load()?;
    let claims = given::claims(&arguments.who, &sourced)?;
    let now_ms = given::instant(arguments.at.as_deref(), &Clock::system())?;
    let (records, of) = given::records(&arguments.records, &sourced)?;
    let headers = given::headers(&arguments.header, &method, arguments.body.is_some())?;
    let body = match &arguments.body {
        Some(path) => given::file(path)?.into(),
        None => bytes::Bytes::new(),
    };
    prepare();
    let Sourced { name, loaded, personas, tenant, .. } = sourced;
    let set = std::sync::Arc::clone(&loaded.set);
    let catalogue = std::sync::Arc::clone(&loaded.catalogue);
    let circumstances = Circumstances { network: arguments.network, break_glass: arguments.break_glass };
    let (who, walk) = runtime()?.block_on(async {
        let bench = Bench::new(loaded, tenant.as_ref(), now_ms).await?;
        bench.hold(records.clone())?;
        let who = bench.caller(&claims, &personas.purposes, circumstances).map_err(|e| {
            Failure::new(format!("such a token would not be accepted: {e}\n  help: see the names of claims in the configuration, and `exp`"))
        })?;
        let walk = bench.ask(&who, &method, &target, &headers, body).await?;
        Ok::<_, Failure>((who.caller, walk))
    })?;
    let told = told::Told {
        policies: &name,
        set: &set,
        catalogue: &catalogue,
        method: &method,
        target: &target,
        caller: &who,
        unverified: arguments.who.token.is_some(),
        walk: &walk,
        records: &records,
        records_of: &of,
        reveal: arguments.reveal,
    };
    match arguments.format {
        Format::Text => say(told.text().trim_end()),
        Format::Json => say(format!("{:#}", told.json())),
    }
    Ok(ExitCode::SUCCESS)
}
