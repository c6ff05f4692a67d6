//! The sheet as Markdown. Its body is what the sheet's hash is taken over.

use std::fmt::Write as _;

use drape_view::Category;

use super::party::{Account, categories_in_words};
use super::{ALWAYS, Heading, READING, Sheet, about, line_words, rows, who};

pub(super) fn whole(sheet: &Sheet, heading: &Heading) -> String {
    let mut out = body(sheet);
    let _ = writeln!(out, "## Signatures\n");
    let _ = writeln!(out, "Sheet: SHA-256 `{}`  ", sheet.hash());
    let _ = writeln!(out, "Made: {}\n", heading.made);
    for approval in &heading.approvals {
        let _ = writeln!(out, "- {}", cell(approval));
    }
    out.push_str("\n| I have read this sheet and approve | date | signature |\n| --- | --- | --- |\n");
    out.push_str("| name: | | |\n| name: | | |\n");
    out
}

/// All but what changes from one making to the next.
pub(super) fn body(sheet: &Sheet) -> String {
    let mut out = String::new();
    out.push_str("# Who is shown what\n\n");
    let _ = writeln!(out, "Policies: {}  ", sheet.source);
    let _ = writeln!(out, "Digest: `{}`  ", sheet.digest);
    let _ = writeln!(out, "Redaction: {}\n", redaction(sheet));
    for sentence in READING {
        let _ = writeln!(out, "- {sentence}");
    }
    overview(&mut out, sheet);
    out.push_str("\n## Caller by caller\n");
    sheet.accounts.iter().for_each(|account| self::account(&mut out, account));
    out.push_str("\n## Whatever policies say\n\n");
    ALWAYS.iter().for_each(|sentence| {
        let _ = writeln!(out, "- {sentence}");
    });
    out.push_str("\n## Treatments\n\n| treatment | means |\n| --- | --- |\n");
    for (name, means) in about::TREATMENTS {
        let _ = writeln!(out, "| {name} | {means} |");
    }
    out.push_str("\n## Categories\n\n| category | holds | for example |\n| --- | --- | --- |\n");
    for (category, examples) in &sheet.categories {
        let examples: Vec<String> = examples.iter().map(|e| format!("`{e}`")).collect();
        let _ = writeln!(out, "| `{category}` | {} | {} |", about::category(*category), examples.join(", "));
    }
    if !sheet.labels.is_empty() {
        let _ = writeln!(
            out,
            "\n## Labels\n\nThe policies read these sensitivity labels, found by code lists of {}.\n",
            sheet.labels_as_of
        );
        out.push_str("| label | stands for |\n| --- | --- |\n");
        for label in &sheet.labels {
            let _ = writeln!(out, "| {} | {} |", cell(label), about::label(label));
        }
    }
    out.push_str("\n## Each policy\n");
    for policy in &sheet.policies {
        let effect = if policy.permits { "permits" } else { "forbids" };
        let _ = writeln!(out, "\n**{}** ({effect}, `{}`)  ", policy.id, policy.place);
        match &policy.words {
            Some(words) => {
                let _ = writeln!(out, "{words}");
            }
            None => {
                let _ = writeln!(
                    out,
                    "It has no words here; in Cedar:\n\n```cedar\n{}\n```",
                    policy.cedar.trim()
                );
            }
        }
    }
    out.push('\n');
    out
}

pub(super) fn redaction(sheet: &Sheet) -> &'static str {
    match sheet.redaction {
        drape_view::Redaction::Declared => "declared: a reduced record says that it is reduced",
        drape_view::Redaction::Silent => "silent: nothing says that anything is hidden",
    }
}

fn overview(out: &mut String, sheet: &Sheet) {
    out.push_str("\n## Overview\n\nWhat happens to each category in the records that reach a caller. A dash: no record does.\n\n| category |");
    for account in &sheet.accounts {
        let _ = write!(out, " {} |", cell(&account.party.name));
    }
    out.push_str("\n| --- |");
    sheet.accounts.iter().for_each(|_| out.push_str(" --- |"));
    out.push('\n');
    for category in Category::ALL {
        let _ = write!(out, "| `{category}` |");
        for account in &sheet.accounts {
            let _ = write!(out, " {} |", short(account, category));
        }
        out.push('\n');
    }
}

pub(super) fn short(account: &Account, category: Category) -> &str {
    account.fates.iter().find(|f| f.category == category).map_or("–", |f| f.short.as_str())
}

fn account(out: &mut String, account: &Account) {
    let party = &account.party;
    let _ = writeln!(out, "\n### {}\n\n{}; {}.\n", party.name, capital(&party.says), who(party));
    if account.requests.is_empty() {
        out.push_str("May ask for nothing.\n");
        return;
    }
    out.push_str("May:\n\n");
    for line in &account.requests {
        let _ = writeln!(out, "- {} ({})", line_words(line), ids(&line.policies));
    }
    if account.receives.is_empty() {
        out.push_str("\nNo record reaches this caller.\n");
    } else {
        out.push_str("\nThese records reach this caller:\n\n");
        for line in &account.receives {
            let condition = line.condition.as_ref().map(|c| format!(", where {c}")).unwrap_or_default();
            let _ = writeln!(out, "- {}{condition} ({})", line.of, ids(&line.policies));
        }
        if !account.withheld.is_empty() {
            out.push_str("\nBut never, whatever else is permitted:\n\n");
            for line in &account.withheld {
                let _ = writeln!(out, "- {} ({})", withheld(line), ids(&line.policies));
            }
        }
        out.push_str(
            "\nOf these records:\n\n| categories | what happens | policies |\n| --- | --- | --- |\n",
        );
        for row in rows(account) {
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                categories_in_words(&row.categories),
                cell(&row.fate.long),
                ids(&row.fate.policies)
            );
        }
    }
    if !account.uses.is_empty() {
        out.push_str("\nAlso:\n\n");
        for line in &account.uses {
            let _ = writeln!(out, "- {} ({})", line_words(line), ids(&line.policies));
        }
    }
}

pub(super) fn withheld(line: &super::party::Line) -> String {
    match &line.condition {
        Some(condition) => format!("where {condition}"),
        None => "any record".into(),
    }
}

fn ids(policies: &[String]) -> String {
    match policies {
        [] => "no policy permits more".into(),
        _ => policies.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// Text that cannot break out of a table or become markup.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "\\<").replace(['\n', '\r'], " ")
}
