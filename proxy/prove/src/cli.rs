//! The command line of `drape-prove`, which `drape prove` hands on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use drape_policy::guarantees::{Case, Claim, Guarantee, Guarantees, Other};
use drape_policy::{PolicySet, shipped};
use drape_view::{Fault, Labels, Treatments};

use crate::claims::{Verdict, prove};
use crate::model::{Job, Model};
use crate::report;
use crate::solver::Solver;

/// Proves the guarantees of a policy set, or shows a caller and a record that break them.
#[derive(Debug, Parser)]
#[command(name = "drape-prove", version, disable_help_subcommand = true)]
struct Arguments {
    /// A shipped set by its name, or a folder of `*.cedar` files.
    #[arg(short, long, value_name = "SET|FOLDER")]
    policies: String,
    /// How the report names them.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What the report says of which policies these are.
    #[arg(long, value_name = "SHA-256")]
    digest: Option<String>,
    /// Instead of the set's own `treatments.yaml`, or the shipped one.
    #[arg(long, value_name = "FILE")]
    treatments: Option<PathBuf>,
    /// Instead of the shipped `labels.yaml`.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Instead of the set's own `guarantees.yaml`.
    #[arg(long, value_name = "FILE")]
    guarantees: Option<PathBuf>,
    /// Another set, than which this one must be nowhere more permissive.
    #[arg(long, value_name = "SET|FOLDER")]
    baseline: Option<String>,
    /// But for this, as `billing is shown finding-value`; may be repeated.
    #[arg(long, value_name = "SENTENCE", requires = "baseline")]
    except: Vec<String>,
    /// Only the guarantee of that id; may be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// `text` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// How long the solver may think about one question.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout_s: u64,
    /// How many questions are asked at one time; as many as there are processors where it is left out, at most four.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
}

/// What was given cannot be used.
const USAGE: u8 = 2;
/// No answer could be had.
const UNANSWERED: u8 = 3;
/// The guarantee that `--baseline` adds.
const BASELINE: &str = "baseline";

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match answer(&arguments) {
        Ok((text, code)) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stdout().lock(), "{text}");
            ExitCode::from(code)
        }
        Err((text, code)) => {
            #[allow(clippy::print_stderr, reason = "the command line speaks to people here")]
            {
                eprintln!("drape: {text}");
            }
            ExitCode::from(code)
        }
    }
}

fn answer(arguments: &Arguments) -> Result<(String, u8), (String, u8)> {
    let job = job(arguments).map_err(|faults| {
        let list: Vec<String> =
            faults.iter().map(|f| format!("  {}", f.to_string().replace('\n', "\n  "))).collect();
        (format!("{} fault(s):\n{}", list.len(), list.join("\n")), USAGE)
    })?;
    let solver = Solver::find(Duration::from_secs(arguments.timeout_s))
        .map_err(|fault| (fault.to_string(), UNANSWERED))?;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let jobs = arguments.jobs.map_or(processors, usize::from);
    let name = job.model.name.clone();
    let wanted = |id: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == id);
    let proofs = prove(job, &solver, jobs, &wanted).map_err(|fault| (fault.to_string(), UNANSWERED))?;
    let has = |of: fn(&Verdict) -> bool| proofs.iter().any(|proof| of(&proof.verdict));
    let code = if has(|v| matches!(v, Verdict::Refuted(_) | Verdict::SaysNothing(_))) {
        1
    } else if has(|v| matches!(v, Verdict::NotProved(_))) {
        UNANSWERED
    } else {
        0
    };
    let text = match arguments.format.as_str() {
        "json" => serde_json::to_string_pretty(&report::json(&name, arguments.digest.as_deref(), &proofs))
            .map_err(|e| (e.to_string(), USAGE))?,
        _ => report::text(&name, &proofs),
    };
    Ok((text, code))
}

fn job(arguments: &Arguments) -> Result<Job, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let treatments = arguments.treatments.as_deref().map(read).transpose().map_err(one)?;
    let labels = arguments.labels.as_deref().map(read).transpose().map_err(one)?;
    let labels = Labels::parse(labels.as_deref().unwrap_or(drape_view::shipped::LABELS))?;
    let model = model(&arguments.policies, arguments.name.clone(), treatments.as_deref())?;
    let mut guarantees = guarantees(arguments)?;
    if let Some(baseline) = &arguments.baseline {
        let sentences = arguments.except.iter().map(|text| Case::sentence(text).map_err(one));
        let mut except = sentences.collect::<Result<Vec<_>, _>>()?;
        except.extend(guarantees.baseline_except.iter().cloned());
        let than = if shipped::find(baseline).is_some() && !Path::new(baseline).is_dir() {
            Other::Set(baseline.clone())
        } else {
            Other::Directory(baseline.clone())
        };
        let says = format!("nothing is more permissive than in {baseline}, but for what is listed");
        let claim = Claim::NowhereMorePermissive { than, except };
        guarantees.list.push(Guarantee { id: BASELINE.to_owned(), says, claim, by_purpose: false });
    }
    let mut faults = Vec::new();
    for id in arguments.only.iter().filter(|id| !guarantees.list.iter().any(|g| g.id == **id)) {
        let known: Vec<&str> = guarantees.list.iter().map(|g| g.id.as_str()).collect();
        let help = format!("there are: {}", known.join(", "));
        faults.push(Fault::new("--only", format!("`{id}` is no guarantee")).help(help));
    }
    let mut others: Vec<(Other, Model)> = Vec::new();
    for guarantee in &guarantees.list {
        let Claim::NowhereMorePermissive { than, .. } = &guarantee.claim else { continue };
        if others.iter().any(|(known, _)| known == than) {
            continue;
        }
        match self::other(than, arguments, guarantee.id == BASELINE, treatments.as_deref()) {
            Ok(model) => others.push((than.clone(), model)),
            Err(found) => faults.extend(found),
        }
    }
    let owned = |(label, above): (&str, std::collections::BTreeSet<String>)| (label.to_owned(), above);
    let closures = labels.closures().into_iter().map(owned).collect();
    if faults.is_empty() { Ok(Job { model, guarantees, closures, others }) } else { Err(faults) }
}

/// The set that a guarantee compares with. A folder that a file names is relative to that file's.
fn other(
    than: &Other,
    arguments: &Arguments,
    of_the_command_line: bool,
    treatments: Option<&str>,
) -> Result<Model, Vec<Fault>> {
    match than {
        Other::Set(name) => model(name, None, treatments),
        Other::Directory(folder) => {
            let file = arguments.guarantees.as_deref().and_then(Path::parent);
            let from = file.unwrap_or(Path::new(&arguments.policies));
            let folder = if of_the_command_line { PathBuf::from(folder) } else { from.join(folder) };
            model(&folder.display().to_string(), None, treatments)
        }
    }
}

fn model(source: &str, name: Option<String>, treatments: Option<&str>) -> Result<Model, Vec<Fault>> {
    let own = file_of(source, "treatments.yaml").map_err(|fault| vec![fault])?;
    let text = treatments.or(own.as_deref()).unwrap_or(drape_view::shipped::TREATMENTS);
    let treatments = Arc::new(Treatments::parse(text)?);
    let set = match set_of(source).map_err(|fault| vec![fault])? {
        Some(set) => PolicySet::shipped(set.name, &treatments, &[])?,
        None => PolicySet::load(Path::new(source), &treatments, &[])?,
    };
    Model::new(name.unwrap_or_else(|| format!("`{source}`")), set).map_err(|fault| vec![fault])
}

/// A shipped set of that name; none for a folder.
fn set_of(source: &str) -> Result<Option<&'static shipped::ShippedSet>, Fault> {
    if Path::new(source).is_dir() {
        return Ok(None);
    }
    match shipped::find(source) {
        Some(set) => Ok(Some(set)),
        None => Err(Fault::new(source, "is neither a shipped set nor a folder").help(shipped::names())),
    }
}

/// A file in the folder of a set, where there is one.
fn file_of(source: &str, name: &str) -> Result<Option<String>, Fault> {
    if let Some(set) = set_of(source)? {
        return Ok(set.file(name).map(str::to_owned));
    }
    let path = Path::new(source).join(name);
    if path.exists() { read(&path).map(Some) } else { Ok(None) }
}

fn guarantees(arguments: &Arguments) -> Result<Guarantees, Vec<Fault>> {
    let (path, text) = match &arguments.guarantees {
        Some(path) => (path.display().to_string(), Some(read(path).map_err(|fault| vec![fault])?)),
        None => {
            let text = file_of(&arguments.policies, "guarantees.yaml").map_err(|fault| vec![fault])?;
            (format!("{}/guarantees.yaml", arguments.policies), text)
        }
    };
    match text {
        Some(text) => Guarantees::parse(&path, &text),
        None if arguments.baseline.is_some() => Ok(Guarantees::default()),
        None => Err(vec![Fault::new(path, "does not exist").help(
            "write what must hold there (docs/policies.md, \"Proving\"), or compare with `--baseline`",
        )]),
    }
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|e| Fault::new(path.display().to_string(), format!("cannot be read: {e}")))
}
