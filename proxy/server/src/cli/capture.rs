//! `drape capture`: what a recording holds; the recording itself is made by `drape serve` where a tenant has `capture`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::diff::UNUSABLE;
use super::source::pick;
use super::{Failure, say};
use crate::config::Config;
use crate::parts::root_key;
use crate::watch;
use crate::watch::recording::{Ending, Reader};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Print every item as a line of JSON: who (under a pseudonym), what was asked and answered, kinds of records.
    #[arg(long)]
    export: bool,
}

/// Which recording is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration: its root key opens recordings.
    #[arg(short, long, default_value = "drape.yaml")]
    config: PathBuf,
    /// Whose recording; may be left out where there is only one tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// A recording of that tenant that lies elsewhere than `capture.file` says.
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
}

impl Which {
    /// Opens it; it may be written meanwhile.
    pub(super) fn open(&self) -> Result<(Reader, PathBuf), Failure> {
        let config = Config::load(&self.config)?;
        let secret = watch::secret(&root_key(&config)?);
        let tenant = pick(config.tenants, self.tenant.as_deref())?;
        let file = self.recording.clone().or_else(|| tenant.capture.map(|c| c.file)).ok_or_else(|| {
            let help = "add `capture: { file: … }` to the tenant and let `drape serve` run, or say `--recording FILE`";
            Failure::new(format!("the tenant `{}` records nothing\n  help: {help}", tenant.name))
        })?;
        Ok((Reader::open(&file, &tenant.name, &secret)?, file))
    }
}

/// What is told of how a recording ends, where there is something to say.
pub(super) fn ending(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::Closed => None,
        Ending::Open => Some(
            "it is still written, or was broken off: what followed its last item, if anything, is missing",
        ),
        Ending::Torn => Some("its last item is incomplete: it is being written, or was broken off"),
    }
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    tell(arguments).map_err(|failure| failure.code(UNUSABLE))
}

fn tell(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (mut reader, file) = arguments.which.open()?;
    if arguments.export {
        for item in &mut reader {
            say(serde_json::to_string(&item?)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut summary = Summary::default();
    for item in &mut reader {
        let item = item?;
        summary.items += 1;
        summary.records += item.records();
        summary.callers.insert(item.subject().to_owned());
        *summary.who.entry(item.who()).or_default() += 1;
        *summary.routes.entry(item.route.clone()).or_default() += 1;
        *summary.digests.entry(item.digest.clone()).or_default() += 1;
        summary.from_s = summary.from_s.min(item.at_s);
        summary.until_s = summary.until_s.max(item.at_s);
    }
    summary.say(&file);
    if let Some(note) = ending(reader.ending()) {
        say(format!("note: {note}"));
    }
    Ok(ExitCode::SUCCESS)
}

struct Summary {
    items: u64,
    records: u64,
    callers: BTreeSet<String>,
    who: BTreeMap<String, u64>,
    routes: BTreeMap<String, u64>,
    digests: BTreeMap<String, u64>,
    from_s: u64,
    until_s: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            items: 0,
            records: 0,
            callers: BTreeSet::new(),
            who: BTreeMap::new(),
            routes: BTreeMap::new(),
            digests: BTreeMap::new(),
            from_s: u64::MAX,
            until_s: 0,
        }
    }
}

impl Summary {
    fn say(&self, file: &Path) {
        say(format!("{}: {} requests, {} records", file.display(), self.items, self.records));
        if self.items == 0 {
            return;
        }
        let when = |s: u64| {
            let at = i64::try_from(s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
            at.map(|at| at.to_string()).unwrap_or_default()
        };
        say(format!("  from {} to {}, to the minute", when(self.from_s), when(self.until_s)));
        say(format!("  {} callers, as:", self.callers.len()));
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().for_each(|(name, count)| say(format!("    {count:>8}  {name}")));
        };
        list(&self.who);
        say("  requests:");
        list(&self.routes);
        say("  policies in force:");
        list(&self.digests);
    }
}
