//! `drape replay`: ask a recording of other policies.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use drape_policy::Decider;
use drape_policy::compare::Difference;
use drape_view::Redaction;
use serde_json::json;

use super::capture::{Which, ending};
use super::diff::{Format, UNUSABLE};
use super::source::either;
use super::{Failure, say};
use crate::workbench::diff::lines::{Line, Lines};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// What is asked: a shipped set by its name, a folder of `*.cedar` files, or `drape.yaml#tenant`.
    candidate: String,
    /// How it is told.
    #[arg(long, value_name = "text|json", default_value = "text")]
    format: Format,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    replay(arguments).map_err(|failure| failure.code(UNUSABLE))
}

fn replay(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let candidate = either(&arguments.candidate)?.loaded;
    let decider = Arc::new(Decider::new(Arc::clone(&candidate.set)).map_err(Failure::new)?);
    let silent = candidate.redaction == Redaction::Silent;
    let (mut reader, _) = arguments.which.open()?;
    let mut met: BTreeMap<(String, Difference), u64> = BTreeMap::new();
    let mut digests: BTreeMap<String, u64> = BTreeMap::new();
    let (mut asked, mut differ, mut unread, mut more) = (0_u64, 0_u64, 0_u64, 0_u64);
    for item in &mut reader {
        let item = item?;
        *digests.entry(item.digest.clone()).or_default() += 1;
        let Some(heard) = item.heard() else {
            unread += 1;
            continue;
        };
        asked += 1;
        more += heard.more;
        let standing = decider.standing(&heard.caller).map_err(Failure::new)?;
        let found = heard.against(&standing, silent);
        differ += u64::from(!found.is_empty());
        for (difference, count) in found {
            *met.entry((item.who(), difference)).or_default() += count;
        }
    }
    let mut lines = Lines::default();
    for ((who, difference), count) in met {
        lines.add(Line { count: Some(count), ..Line::of(&who, difference) });
    }
    lines.sort();
    let mut notes: Vec<String> =
        ending(reader.ending()).map(|n| format!("of the recording: {n}")).into_iter().collect();
    notes.push("records keep the labels and categories with which they were recorded".to_owned());
    if unread > 0 {
        notes.push(format!("{unread} requests were recorded by another version and could not be asked"));
    }
    if more > 0 {
        notes.push(format!("{more} records were of more kinds than a recording keeps of one request"));
    }
    match arguments.format {
        Format::Text => {
            say(format!("{asked} requests asked of {}: {differ} would end otherwise", arguments.candidate));
            say(lines.summary());
            lines.text().iter().for_each(say);
            say(String::new());
            for (digest, count) in &digests {
                say(format!("recorded under {digest}: {count}"));
            }
            say(format!("asked of           {}", candidate.set.digest()));
            notes.iter().for_each(|note| say(format!("note: {note}")));
        }
        Format::Json => say(json!({
            "candidate": arguments.candidate,
            "digest": candidate.set.digest(),
            "recorded_under": digests,
            "requests": asked,
            "requests_that_differ": differ,
            "summary": lines.summary(),
            "differences": lines.json(),
            "notes": notes,
        })),
    }
    Ok(if lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
